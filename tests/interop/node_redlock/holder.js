// Takes, extends and gives back locks through node-redlock, as it is told on stdin: see foreign_holders.py.
"use strict";
const { default: Redis } = require("ioredis");
const { default: Redlock, ExecutionError, ResourceLockedError } = require("redlock");

const clients = process.argv.slice(2).map((port) => new Redis({ host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: 1 }));
for (const each of clients) each.on("error", () => {}); // a server that is not there votes against
const patient = new Redlock(clients);
const impatient = new Redlock(clients, { retryCount: 0 });
for (const each of [patient, impatient]) each.on("error", () => {}); // also told as the outcome of the call
const locks = new Map(); // by key: what redlock gave us, and for how long it was asked

async function obey(verb, key, millis) {
  if (verb === "try" || verb === "acquire") {
    const from = verb === "try" ? impatient : patient;
    const ttl = Number(millis);
    locks.set(key, { lock: await from.acquire([key], ttl), ttl });
  } else if (verb === "extend") {
    const { lock, ttl } = locks.get(key);
    locks.set(key, { lock: await lock.extend(ttl), ttl });
  } else {
    const { lock } = locks.get(key);
    locks.delete(key);
    await lock.release();
  }
}

// Somebody else has it, or it has ended; anything else is an error.
async function isRefusal(error) {
  if (!(error instanceof ExecutionError)) return false;
  const attempts = await Promise.all(error.attempts);
  return attempts.every((each) => [...each.votesAgainst.values()].some((why) => why instanceof ResourceLockedError));
}

async function main() {
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    let answer = "yes";
    try {
      await obey(...line.trim().split(" "));
    } catch (error) {
      answer = (await isRefusal(error)) ? "no" : `error ${error}`;
    }
    console.log(answer);
  }
  process.exit(0);
}
main();
