#include "commands/commands.hpp"

#include <array>

namespace dislock::cli {

std::span<const command> all_commands() {
  static constexpr std::array commands{
      command{"run", "Run a command under a lock", declare_run, true,
              "Examples:\n"
              "  dislock run nightly-report -- make report\n"
              "  dislock run -n deploy/web -- ./deploy.sh          # 124 if somebody deploys already\n"
              "  dislock run --limit 3 licences -- ./simulate      # one of three\n"},
      command{"acquire", "Acquire locks and say how to give them back", declare_acquire, false,
              "Example:\n"
              "  eval \"$(dislock acquire orders/42 --ttl 60s -o env)\"\n"
              "  ...\n"
              "  dislock release\n"},
      command{"release", "Give a lock back", declare_release, false, {}},
      command{"renew", "Extend a lease", declare_renew, false, {}},
      command{"get", "Show one lock: who holds it, who waits", declare_get, false, {}},
      command{"ls", "List the locks that are in use", declare_ls, false, {}},
      command{"waiters", "Show the queue of a lock", declare_waiters, false, {}},
      command{"watch", "Follow what happens to locks", declare_watch, false, {}},
      command{"top", "A live screen: hottest locks, longest waits", declare_top, false, {}},
      command{"graph", "Who waits for whom", declare_graph, false, {}},
      command{"deadlocks", "Deadlocks that were found, with their cycles", declare_deadlocks, false, {}},
      command{"elect", "Stand for election, or watch who leads", declare_elect, true,
              "Examples:\n"
              "  dislock elect scheduler \"$(hostname)\" -- ./scheduler\n"
              "  dislock elect -l scheduler\n"},
      command{"revoke", "Take a lock away from its holder", declare_revoke, false, {}},
      command{"check", "A probe for monitoring", declare_check, false, {}},
      command{"doctor", "Find out what is wrong between here and the locks", declare_doctor, false, {}},
      command{"bench", "Measure: throughput and latencies", declare_bench, false, {}},
      command{"errors", "What the error codes mean", declare_errors, false, {}},
      command{"config", "The settings in force", declare_config, false, {}},
      command{"completion", "A completion script for a shell", declare_completion, false,
              "Example:\n  source <(dislock completion bash)\n"},
      command{"version", "The versions of this program and of the service", declare_version, false, {}},
  };
  return commands;
}

}  // namespace dislock::cli
