// The root of the WebAssembly module: the plan's interpreter and what JavaScript calls directly.
import { activation } from "../../ops/activation/activation.wasm";
import { blockLinear } from "../../ops/block-linear/block-linear.wasm";
import { attention, attentionFinish } from "../../ops/attention/attention.wasm";
import { causalConv1d } from "../../ops/causal-conv1d/causal-conv1d.wasm";
import { embedding } from "../../ops/embedding/embedding.wasm";
import { gatedDelta } from "../../ops/gated-delta/gated-delta.wasm";
import { expertLinear, expertSum } from "../../ops/expert-linear/expert-linear.wasm";
import { gatedRmsNorm } from "../../ops/gated-rms-norm/gated-rms-norm.wasm";
import { gate } from "../../ops/gate/gate.wasm";
import { layerNorm } from "../../ops/layer-norm/layer-norm.wasm";
import { linear } from "../../ops/linear/linear.wasm";
import { quantize } from "../../ops/linear/linear-rounded.wasm";
import { packRows, preparePacked } from "../../ops/linear/packed.wasm";
import { mamba3Scan } from "../../ops/mamba3-scan/mamba3-scan.wasm";
import { mlstmGates, mlstmMemory } from "../../ops/mlstm/mlstm.wasm";
import { rgLru } from "../../ops/rg-lru/rg-lru.wasm";
import { rmsNorm } from "../../ops/rms-norm/rms-norm.wasm";
import { route } from "../../ops/route/route.wasm";
import { scaledAdd } from "../../ops/scaled-add/scaled-add.wasm";
import { rope } from "../../ops/rope/rope.wasm";
import { selectiveScan } from "../../ops/selective-scan/selective-scan.wasm";
import { ssdStep } from "../../ops/ssd/ssd.wasm";
import { ssdScan, ssdScores } from "../../ops/ssd/ssd-chunks.wasm";
import { tokenShift } from "../../ops/token-shift/token-shift.wasm";
import { wkv4 } from "../../ops/wkv4/wkv4.wasm";
import { wkv7Bonus } from "../../ops/wkv7-bonus/wkv7-bonus.wasm";
import { wkv7Keys } from "../../ops/wkv7-keys/wkv7-keys.wasm";
import { wkv7 } from "../../ops/wkv7/wkv7.wasm";
import { multipliesBytes, prepareDot } from "../../wasm/dot.wasm";
import { likeliest } from "../../wasm/likeliest.wasm";
import { prepareMath } from "../../wasm/math.wasm";
import { barrier, call, commandedPlan, isLeader, joinTeam, nextCommand, teamSize } from "../../wasm/team.wasm";

export { multipliesBytes, packRows };
// Only to keep them functions of their own, see there.
export {
  oneGroupQ4, oneGroupQ4K, oneGroupQ5K, oneGroupQ6K, oneGroupQ8, severalQ4, severalQ4K, severalQ5K, severalQ6K, severalQ8,
} from "../../ops/linear/one-row.wasm";
export {
  halvesBytes, halvesNarrow, halvesNarrowBytes, halvesSplit, halvesWords, minBytes, minNarrow, minNarrowBytes, minSplit, minWords,
  plainBytes, plainNarrow, plainNarrowBytes, plainSplit, plainWords,
} from "../../ops/linear/row-tile.wasm";

/** 16 bytes that stay 0. */
@inline const ZEROS: usize = 16;

/** Must be called before all else. */
export function join(thread: i32, threads: i32): void {
  joinTeam(thread, threads);
  prepareMath();
  prepareDot(ZEROS);
  preparePacked();
}

// Milliseconds; only called while a profile is taken.
@external("host", "now")
declare function now(): f64;

/** Where the leader adds up the time of each opcode (f64 by opcode); 0: no profile. */
let profile: usize = 0;

export function setProfile(address: usize): void {
  profile = address;
}

/** The leader's way in: all threads execute the plan. Returns 0, or 1 if a thread failed. */
export function run(plan: usize): i32 {
  if (teamSize() > 1) call(plan);
  return execute(plan);
}

/** The life of every other thread: ends when it is told to execute plan 0. */
export function serve(): void {
  let seen = 0;
  while (true) {
    seen = nextCommand(seen);
    const plan = commandedPlan();
    if (plan == 0) return;
    execute(plan);
  }
}

/** Tells the other threads to end. */
export function dismiss(): void {
  call(0);
}

function execute(plan: usize): i32 {
  let instruction = plan;
  let opcode = load<i32>(instruction);
  while (opcode != 0) {
    const timed = profile != 0 && isLeader();
    const start = timed ? now() : 0;
    switch (opcode) {
      case 1: embedding(instruction); break;
      case 2: rmsNorm(instruction); break;
      case 3: gatedRmsNorm(instruction); break;
      case 4: quantize(instruction); break;
      case 5: linear(instruction); break;
      case 6: causalConv1d(instruction); break;
      case 7: selectiveScan(instruction); break;
      case 8: ssdStep(instruction); break;
      case 9: ssdScores(instruction); break;
      case 10: ssdScan(instruction); break;
      case 11: layerNorm(instruction); break;
      case 12: activation(instruction); break;
      case 13: gate(instruction); break;
      case 14: scaledAdd(instruction); break;
      case 15: blockLinear(instruction); break;
      case 16: mamba3Scan(instruction); break;
      case 17: tokenShift(instruction); break;
      case 18: wkv4(instruction); break;
      case 19: wkv7(instruction); break;
      case 20: wkv7Keys(instruction); break;
      case 21: wkv7Bonus(instruction); break;
      case 22: rope(instruction); break;
      case 23: attention(instruction); break;
      case 24: attentionFinish(instruction); break;
      case 25: rgLru(instruction); break;
      case 26: mlstmGates(instruction); break;
      case 27: mlstmMemory(instruction); break;
      case 28: gatedDelta(instruction); break;
      case 29: route(instruction); break;
      case 30: expertLinear(instruction); break;
      case 31: expertSum(instruction); break;
      case 32: likeliest(instruction); break;
      default: unreachable();
    }
    // Behind the last barrier the leader may already have freed the plan, so all reading of it comes before.
    instruction += load<i32>(instruction, 4);
    const done = opcode;
    opcode = load<i32>(instruction);
    if (!barrier()) return 1;
    if (timed) {
      const total = profile + (<usize>done << 3);
      store<f64>(total, load<f64>(total) + now() - start);
    }
  }
  return 0;
}
