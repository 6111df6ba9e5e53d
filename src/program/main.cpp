// halotile: runs, verifies and explains patch-parallel convolution from a config.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>

#include "formats/home_path.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/commands.hpp"
#include "program/interrupt.hpp"

namespace {

constexpr int exit_trouble = 2;

// A standard stream that is closed leaves its number to the next file that is opened, and what is printed
// goes into that file.
void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // Standard output is still one that takes nothing.
    static_cast<void>(::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY));
  }
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what,
                      halotile::CommandLine& line, int (*run)(const halotile::CommandLine&),
                      int (*&chosen)(const halotile::CommandLine&)) {
  CLI::App* const command = app.add_subcommand(name, what);
  command->add_flag("--json", line.json, "Print one JSON object instead of text");
  command->callback([&chosen, run] { chosen = run; });
  return command;
}

void add_config(CLI::App* command, halotile::CommandLine& line) {
  command->add_option("CONFIG", line.config, "Experiment config (YAML)")->required();
  command->add_option("OVERRIDES", line.overrides,
                      "key=value words that replace keys of the config: patch.size=32 streams=8");
}

void add_sweep(CLI::App* command, halotile::CommandLine& line) {
  add_config(command, line);
  command->get_option("OVERRIDES")
      ->description(
          "key=value words that replace keys of the config, and key=value,value,... or key=range(begin, end, "
          "step) words that are swept: patch.size=16,32,64 streams=1,2");
  command->add_option("-o,--store", line.store,
                      "The store to add points to (default: NAME.db in output.directory)");
  command->add_flag("--dry-run", line.dry_run, "Tell the points and the time they may take; measure nothing");
  command->add_option(
      "--report", line.report,
      "Behind the sweep, trace a run of the fastest patched setting and write the report (HTML)");
  const auto last_wins = CLI::MultiOptionPolicy::TakeLast;
  command
      ->add_flag("--fail-fast,!--keep-going", line.fail_fast,
                 "End behind the first point that fails; or go on behind it (the default)")
      ->multi_option_policy(last_wins);
}

void add_export(CLI::App* command, halotile::CommandLine& line) {
  command->add_option("STORE", line.store, "A store that sweeps filled")->required();
  command->add_option("--format", line.format, "csv, or jsonl: a JSON object a line")
      ->check(CLI::IsMember({"csv", "jsonl"}))
      ->capture_default_str();
  command->add_option("-o,--output", line.file, "The file to write (default: standard output)");
}

void add_compare(CLI::App* command, halotile::CommandLine& line) {
  command
      ->add_option("A", line.a,
                   "A result of run (NAME.run.json), a store, a folder of them (rounds), or a commit")
      ->required();
  command->add_option("B", line.b, "What is compared with it")->required();
  command->add_option("--store", line.store,
                      "A and B are commits (NAME or NAME-dirty): where their points are");
  command->add_option("--threshold", line.threshold, "Ratios within 1 +- this are the same")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command->add_flag("-q,--quiet", line.quiet, "Print nothing; the exit status tells");
  command->footer("Exit status: 0 nothing slower, 1 something slower, broken or with other bits, 2 trouble.");
}

void add_explain(CLI::App* command, halotile::CommandLine& line) {
  command->add_option("SOURCE", line.config, "A store that a sweep filled, or a config that is measured now")
      ->required();
  command->add_option(
      "SETTINGS", line.overrides,
      "key=value words that choose the store's point (without them the fastest and the slowest "
      "patched one), or replace keys of the config");
}

void add_report(CLI::App* command, halotile::CommandLine& line) {
  command->add_option("STORE", line.store, "Store that halotile sweep wrote")->required();
  command->add_option("-o,--output", line.output, "HTML file to write")->default_str(line.output.string());
  command->add_option("--trace", line.trace, "Trace of one run (measure.trace) to draw as a timeline");
}

// The shell does it for words of their own, but not in --store=~/x.
void expand_home_in(halotile::CommandLine& line) {
  for (std::filesystem::path* path :
       {&line.config, &line.image, &line.store, &line.output, &line.report, &line.trace, &line.file})
    *path = halotile::expand_home(*path);
  for (std::string* side : {&line.a, &line.b}) *side = halotile::expand_home(*side).string();
}

void print_output_lost(const char* why) {
  halotile::print_error("halotile: standard output takes no more ({}); what was printed is incomplete\n",
                        why);
}

}  // namespace

int main(int argc, char** argv) {
  halotile::handle_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of the write
  hold_standard_streams();
  CLI::App app{
      "halotile: patch-parallel convolution. Cuts images into halo-padded tiles, runs them on separate "
      "streams, "
      "and gives the same bits as the whole.",
      "halotile"};
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 fine or same, 1 different, 2 trouble, 130 interrupted.\nTry: halotile verify "
      "configs/alexnet.yaml");
  halotile::CommandLine line;
  int (*command)(const halotile::CommandLine&) = nullptr;

  add_config(add_command(app, "run", "Run the experiment: top-5 and a table of timings", line,
                         halotile::command_run, command),
             line);
  add_config(add_command(app, "verify", "Compare the patched pipeline with the unpatched one, bit by bit",
                         line, halotile::command_verify, command),
             line);
  CLI::App* const plan =
      add_command(app, "plan", "Print tiles, halos, recomputed work and memory without running", line,
                  halotile::command_plan, command);
  add_config(plan, line);
  plan->add_option("--image", line.image, "Draw cores, halos and keys of one stage on the first image (PNG)");
  plan->add_option("--stage", line.stage, "The stage to draw")->capture_default_str();
  add_sweep(
      add_command(app, "sweep", "Verify and measure every combination of settings; goes on where it was",
                  line, halotile::command_sweep, command),
      line);
  CLI::App* const exporting = app.add_subcommand("export", "Write a store's points as CSV or JSON Lines");
  exporting->callback([&command] { command = halotile::command_export; });
  add_export(exporting, line);
  add_compare(add_command(app, "compare", "Tell whether B is faster or slower than A, point by point", line,
                          halotile::command_compare, command),
              line);
  add_explain(add_command(app, "explain", "Tell why a setting is fast or slow, from what was measured", line,
                          halotile::command_explain, command),
              line);
  CLI::App* const info = add_command(app, "info", "Tell the build, the devices and the engines", line,
                                     halotile::command_info, command);
  info->add_flag("--kernels", line.kernels,
                 "Tell registers, shared, constant and local memory of the CUDA kernels");
  info->add_flag("--config-keys", line.config_keys,
                 "Tell the keys of experiments instead, as docs/config.md has them");
  add_report(add_command(app, "report", "Turn a store of sweeps into one HTML file with charts", line,
                         halotile::command_report, command),
             line);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    halotile::print_error("halotile: {} (try halotile --help)\n", halotile::message_of(e));
    return exit_trouble;
  }

  try {
    expand_home_in(line);
    const int status = command(line);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    print_output_lost(std::strerror(errno));
  } catch (const halotile::Interrupted&) {
    halotile::print_error("halotile: interrupted; no result was written\n");
    return halotile::exit_interrupted;
  } catch (const std::bad_alloc&) {
    halotile::print_error("halotile: out of memory; use a smaller batch or input\n");
  } catch (const std::exception& e) {
    if (std::ferror(stdout) != 0) {
      print_output_lost(e.what());
    } else {
      halotile::print_error("halotile: {}\n", halotile::message_of(e));
    }
  }
  return exit_trouble;
}
