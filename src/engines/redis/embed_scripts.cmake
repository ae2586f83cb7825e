# Writes the scripts into a header. OUT: the header; TABLE: the parts of the table's script; EVENTS: that of the events.
function(read_all out)
  set(text "")
  foreach(part ${ARGN})
    file(READ ${part} piece)
    string(APPEND text "${piece}\n")
  endforeach()
  set(${out} "${text}" PARENT_SCOPE)
endfunction()
read_all(table ${TABLE})
read_all(events ${EVENTS})
file(WRITE ${OUT} "// Generated from src/engines/redis/lua.
#pragma once

#include <string_view>

namespace dislock::redis {

inline constexpr std::string_view table_script = R\"lua(${table})lua\";
inline constexpr std::string_view events_script = R\"lua(${events})lua\";

}  // namespace dislock::redis
")
