#include <fmt/format.h>

#include "pipeline/experiment/text.hpp"
#include "program/commands.hpp"
#include "program/replaced_files.hpp"
#include "program/report/report.hpp"

namespace halotile {

int command_report(const CommandLine& line) {
  std::vector<KeptFile> read = files_of_store(line.store);
  if (!line.trace.empty()) read.push_back({"the trace", line.trace});
  refuse_to_replace(read, "--output", line.output);
  const Report report = read_report(line.store);
  write_report(report, line.store, line.trace, line.output);
  if (line.json) {
    print_json(report_json(report, line.output));
  } else {
    print_report(report, line.output);
  }
  return 0;
}

}  // namespace halotile
