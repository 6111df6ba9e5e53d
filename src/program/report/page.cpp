#include "program/report/page.hpp"

#include <string_view>

namespace halotile {

// Parts of the page, written by the build from src/program/report/page and the chart library.
extern const std::string_view page_template;
extern const std::string_view page_style;
extern const std::string_view page_script;
extern const std::string_view chart_library;  // empty: not there

namespace {

// JSON may hold "</script>", and "<!--" which a browser reads as well.
std::string script_safe(const std::string& json) {
  std::string safe;
  safe.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string html_text(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

}  // namespace

bool has_chart_library() { return !chart_library.empty(); }

std::string report_page(const nlohmann::json& data) {
  const std::string json = script_safe(data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const std::string title = html_text(data.at("title").get<std::string>());
  std::string page;
  page.reserve(page_template.size() + page_style.size() + page_script.size() + chart_library.size() +
               json.size());
  std::string_view rest = page_template;
  // Parts stand in the template as {{name}}.
  for (std::size_t begin = rest.find("{{"); begin != std::string_view::npos; begin = rest.find("{{")) {
    const std::size_t end = rest.find("}}", begin);
    const std::string_view name = rest.substr(begin + 2, end - begin - 2);
    page += rest.substr(0, begin);
    page += name == "title"     ? std::string_view(title)
            : name == "style"   ? page_style
            : name == "data"    ? std::string_view(json)
            : name == "library" ? chart_library
                                : page_script;
    rest.remove_prefix(end + 2);
  }
  page += rest;
  return page;
}

}  // namespace halotile
