// The threads of one backend: they share the memory, run the same instructions, take their pieces of each from a common
// counter and meet at a barrier after it. The control words lie at fixed addresses, a cache line apart; backends/wasm/module.ts names
// those that JavaScript touches.

@inline const ARRIVED: usize = 1024;
@inline const GENERATION: usize = 1088;
@inline const SLEEPERS: usize = 1152;
@inline const WORK: usize = 1216;
@inline const ABORTED: usize = 1280;
@inline const COMMAND: usize = 1344;
@inline const PLAN: usize = 1408;
@inline const SCRATCH: usize = 1412;
@inline const SCRATCH_BYTES: usize = 1416;

// Reads of a word before sleeping on it: some 10 µs, longer than most ops of a decode step, shorter than a time slice.
@inline const SPINS: i32 = 10000;
@inline const ONE_SECOND: i64 = 1000000000;
// A thread that is not heard of for this long is taken for dead. One op of the largest chunk takes far less.
@inline const PATIENCE_SECONDS: i32 = 60;

let thread: i32 = 0;
let threads: i32 = 1;

/** Says which of how many threads this is. */
export function joinTeam(index: i32, count: i32): void {
  thread = index;
  threads = count;
}

export function teamSize(): i32 {
  return threads;
}

export function isLeader(): bool {
  return thread == 0;
}

/** This thread's own working memory; its size is what the plans asked for. */
export function scratch(): usize {
  return <usize>load<u32>(SCRATCH) + <usize>thread * <usize>load<u32>(SCRATCH_BYTES);
}

/** Takes the next `grain` items of this instruction: the first one's index. At or past the instruction's total: none left. */
export function take(grain: i32): i32 {
  return threads == 1 ? takeAlone(grain) : atomic.add<i32>(WORK, grain);
}

function takeAlone(grain: i32): i32 {
  const first = load<i32>(WORK);
  store<i32>(WORK, first + grain);
  return first;
}

/** Items to take at once, so that each thread comes about `turns` times and a slow one holds nobody up for long. */
export function grainOf(total: i32, turns: i32): i32 {
  const grain = total / (threads * turns);
  return grain < 1 ? 1 : grain;
}

/** Waits until every thread has come here. False: a thread failed, stop. */
export function barrier(): bool {
  if (threads == 1) {
    store<i32>(WORK, 0);
    return true;
  }
  const generation = atomic.load<i32>(GENERATION);
  if (atomic.add<i32>(ARRIVED, 1) + 1 == threads) {
    atomic.store<i32>(ARRIVED, 0);
    atomic.store<i32>(WORK, 0);
    atomic.add<i32>(GENERATION, 1);
    // Who counts itself as a sleeper after this read finds the generation changed and does not sleep.
    if (atomic.load<i32>(SLEEPERS) != 0) atomic.notify(GENERATION, -1);
    return atomic.load<i32>(ABORTED) == 0;
  }
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<i32>(GENERATION) != generation) return atomic.load<i32>(ABORTED) == 0;
  }
  atomic.add<i32>(SLEEPERS, 1);
  let seconds = 0;
  while (atomic.load<i32>(GENERATION) == generation && atomic.load<i32>(ABORTED) == 0) {
    // 2: the second passed without news.
    if (atomic.wait<i32>(GENERATION, generation, ONE_SECOND) == 2 && ++seconds == PATIENCE_SECONDS) atomic.store<i32>(ABORTED, 1);
  }
  atomic.sub<i32>(SLEEPERS, 1);
  return atomic.load<i32>(ABORTED) == 0;
}

/** Tells the other threads to execute a plan (0: to end). */
export function call(plan: usize): void {
  store<u32>(PLAN, <u32>plan);
  atomic.add<i32>(COMMAND, 1);
  atomic.notify(COMMAND, -1);
}

/** Waits for the command after `seen`. */
export function nextCommand(seen: i32): i32 {
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<i32>(COMMAND) != seen) return atomic.load<i32>(COMMAND);
  }
  while (atomic.load<i32>(COMMAND) == seen) atomic.wait<i32>(COMMAND, seen, -1);
  return atomic.load<i32>(COMMAND);
}

export function commandedPlan(): usize {
  return load<u32>(PLAN);
}
