// The commands of the program. Each returns the exit status: 0 fine or same, 1 different; trouble is thrown.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace halotile {

struct CommandLine {
  std::filesystem::path config;
  std::vector<std::string> overrides;  ///< key=value
  bool json = false;                   ///< one JSON object on standard output and nothing else there
  std::filesystem::path image;         ///< plan: picture to write
  std::int64_t stage = 0;              ///< plan: stage to draw
  bool kernels = false;                ///< info: what the CUDA kernels take of the GPU
  bool config_keys = false;            ///< info: the keys of experiments, and nothing else
  std::string a;                       ///< compare: a result, a store, a folder of them, or a commit
  std::string b;
  std::filesystem::path store;  ///< of points: sweep's, report's, export's; compare: where the commits' are
  double threshold = 0.02;      ///< compare: a share of the time
  bool quiet = false;           ///< compare: print nothing
  std::filesystem::path output = "report.html";  ///< report: file to write
  std::filesystem::path report;                  ///< sweep: the report to write behind it; empty: none
  std::filesystem::path trace;                   ///< report: trace of one run to draw; empty: none
  bool dry_run = false;                          ///< sweep: tell the points, measure nothing
  bool fail_fast = false;                        ///< sweep: end behind the first point that fails
  std::string format = "csv";                    ///< export: or jsonl
  std::filesystem::path file;                    ///< export: where to; empty: standard output
};

int command_run(const CommandLine& line);
int command_verify(const CommandLine& line);
int command_plan(const CommandLine& line);
int command_sweep(const CommandLine& line);
int command_export(const CommandLine& line);
int command_compare(const CommandLine& line);
int command_explain(const CommandLine& line);
int command_info(const CommandLine& line);
int command_report(const CommandLine& line);

}  // namespace halotile
