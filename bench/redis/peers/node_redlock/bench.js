// node-redlock through its own API: see ../run.   node bench.js PORT pairs|handoff CALLERS SECONDS WARM_UP
"use strict";
const { default: Redis } = require("ioredis");
const { default: Redlock, ExecutionError } = require("redlock");

const [port, mode, callers, seconds, warmUp] = process.argv.slice(2).map((word) => Number(word) || word);
const ttl = 30000;
const redlock = new Redlock([new Redis({ host: "127.0.0.1", port })]); // everything else as it comes
redlock.on("error", () => {});

let count = 0;
let counting = false;
let over = false;

async function pairs(i) {
  while (!over) {
    const lock = await redlock.acquire([`lock:peers/${i}`], ttl);
    await lock.release();
    if (counting) ++count;
  }
}

let lastOwner = -1;
let lastRelease = 0;

async function handOffs(i) {
  while (!over) {
    const since = performance.now();
    let lock;
    while (!lock) {
      try {
        lock = await redlock.acquire(["lock:peers-handoff"], ttl);
      } catch (error) {
        if (!(error instanceof ExecutionError)) throw error;
        if (over) return; // its own patience is over: it goes on waiting
      }
    }
    if (counting && lastOwner !== i && since < lastRelease) ++count;
    lastOwner = i;
    lastRelease = performance.now();
    await lock.release();
  }
}

const after = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000));

async function main() {
  for (let i = 0; i < callers; ++i) {
    (mode === "pairs" ? pairs(i) : handOffs(i)).catch((error) => {
      console.error(String(error));
      process.exit(1);
    });
  }
  await after(warmUp);
  const began = performance.now();
  counting = true;
  await after(seconds);
  counting = false;
  const took = (performance.now() - began) / 1000;
  over = true;
  await after(0.2); // who holds a lock gives it back
  console.log(JSON.stringify({ count, seconds: took }));
  process.exit(0);
}
main();
