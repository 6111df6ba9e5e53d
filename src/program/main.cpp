// halotile: runs, verifies and explains patch-parallel convolution from a config.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "patching/error.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/command_compare.hpp"
#include "program/command_explain.hpp"
#include "program/command_export.hpp"
#include "program/command_info.hpp"
#include "program/command_plan.hpp"
#include "program/command_report.hpp"
#include "program/command_run.hpp"
#include "program/command_sweep.hpp"
#include "program/command_verify.hpp"
#include "program/interrupt.hpp"

namespace halotile {
namespace {

// In the order of the help.
std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(std::make_unique<CommandRun>());
  commands.push_back(std::make_unique<CommandVerify>());
  commands.push_back(std::make_unique<CommandPlan>());
  commands.push_back(std::make_unique<CommandSweep>());
  commands.push_back(std::make_unique<CommandExport>());
  commands.push_back(std::make_unique<CommandCompare>());
  commands.push_back(std::make_unique<CommandExplain>());
  commands.push_back(std::make_unique<CommandInfo>());
  commands.push_back(std::make_unique<CommandReport>());
  return commands;
}

// A standard stream that is closed leaves its number to the next file that is opened, and what is printed
// goes into that file.
void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // Standard output is still one that takes nothing.
    static_cast<void>(::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY));
  }
}

void print_output_lost(const char* why) {
  print_error("halotile: standard output takes no more ({}); what was printed is incomplete\n", why);
}

// The exit status; trouble is told.
int run_command(Command& command, const Options& options) {
  try {
    options.expand_home();
    const int status = command.run();
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    print_output_lost(std::strerror(errno));
  } catch (const Interrupted&) {
    print_error("halotile: interrupted; no result was written\n");
    return exit_interrupted;
  } catch (const std::bad_alloc&) {
    print_error("halotile: out of memory; use a smaller batch or input\n");
  } catch (const std::exception& e) {
    if (std::ferror(stdout) != 0) {
      print_output_lost(e.what());
    } else {
      print_error("halotile: {}\n", message_of(e));
    }
  }
  return exit_trouble;
}

// Reads the command line and does what it says.
int run_program(int argc, char** argv) {
  CLI::App app{
      "halotile: patch-parallel convolution. Cuts images into halo-padded tiles, runs them on separate "
      "streams, and gives the same bits as the whole.",
      "halotile"};
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 fine or same, 1 different, 2 trouble, 130 interrupted.\nTry: halotile verify "
      "configs/alexnet.yaml");
  const std::vector<std::unique_ptr<Command>> commands = all_commands();
  std::vector<Options> options;
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    CLI::App* const parser = app.add_subcommand(commands[i]->name(), commands[i]->synopsis());
    commands[i]->set_up(options.emplace_back(*parser));
    parser->callback([&chosen, i] { chosen = i; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    print_error("halotile: {} (try halotile --help)\n", message_of(e));
    return exit_trouble;
  }
  return run_command(*commands[chosen], options[chosen]);
}

}  // namespace
}  // namespace halotile

int main(int argc, char** argv) {
  halotile::handle_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of the write
  halotile::hold_standard_streams();
  return halotile::run_program(argc, argv);
}
