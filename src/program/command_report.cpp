#include "program/command_report.hpp"

#include <fmt/format.h>

#include "pipeline/experiment/text.hpp"
#include "program/replaced_files.hpp"
#include "program/report/report.hpp"

namespace halotile {

void CommandReport::set_up(Options& options) {
  add_json(options);
  options.word("STORE", store_, "Store that halotile sweep wrote");
  options.path("-o,--output", output_, "HTML file to write");
  options.path("--trace", trace_, "Trace of one run (measure.trace) to draw as a timeline");
}

int CommandReport::run() {
  std::vector<KeptFile> read = files_of_store(store_);
  if (!trace_.empty()) read.push_back({"the trace", trace_});
  refuse_to_replace(read, "--output", output_);
  const Report report = read_report(store_);
  write_report(report, store_, trace_, output_);
  if (as_json()) {
    print_json(report_json(report, output_));
  } else {
    print_report(report, output_);
  }
  return exit_fine;
}

}  // namespace halotile
