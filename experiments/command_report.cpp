#include <fmt/format.h>

#include "commands.hpp"
#include "report/report.hpp"
#include "text.hpp"

namespace halotile {

int command_report(const CommandLine& line) {
  const Report report = read_report(line.store);
  write_report(report, line.store, line.trace, line.output);
  if (line.json) {
    fmt::print("{}", json_text(report_json(report, line.output)));
  } else {
    print_report(report, line.output);
  }
  return 0;
}

}  // namespace halotile
