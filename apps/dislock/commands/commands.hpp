// The declarations of all commands; registry.cpp lists them.
#pragma once

#include "command.hpp"

namespace dislock::cli {

action declare_acquire(CLI::App& app);
action declare_bench(CLI::App& app);
action declare_check(CLI::App& app);
action declare_completion(CLI::App& app);
action declare_config(CLI::App& app);
action declare_deadlocks(CLI::App& app);
action declare_doctor(CLI::App& app);
action declare_elect(CLI::App& app);
action declare_errors(CLI::App& app);
action declare_get(CLI::App& app);
action declare_graph(CLI::App& app);
action declare_ls(CLI::App& app);
action declare_release(CLI::App& app);
action declare_renew(CLI::App& app);
action declare_revoke(CLI::App& app);
action declare_run(CLI::App& app);
action declare_top(CLI::App& app);
action declare_version(CLI::App& app);
action declare_waiters(CLI::App& app);
action declare_watch(CLI::App& app);

}  // namespace dislock::cli
