import { exp1 } from "../../wasm/math.wasm";
import { scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-experts.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Route {
  opcode: i32;
  bytes: i32;
  rows: i32;
  /** nExpert */
  cols: i32;
  /** See SOFTMAX and those after it. */
  scoring: i32;
  groups: i32;
  topKGroup: i32;
  topK: i32;
  normalise: i32;
  scale: f32;
  scores: usize;
  scoresStride: i32;
  /** 0: none. */
  choiceBias: usize;
  experts: usize;
  expertsStride: i32;
  weights: usize;
  weightsStride: i32;
}

/** Numbers of the scorings, as encode-experts.ts has them. */
@inline const SOFTMAX: i32 = 0;
@inline const SIGMOID: i32 = 1;
@inline const SOFTMAX_OF_CHOSEN: i32 = 2;

/** Scores → weights → the best of the best groups. A row is one piece of work. */
export function route(instruction: usize): void {
  const op = changetype<Route>(instruction);
  for (let row = take(1); row < op.rows; row = take(1)) {
    const scores = op.scores + (<usize>row * op.scoresStride << 2);
    const experts = op.experts + (<usize>row * op.expertsStride << 2);
    const weights = op.weights + (<usize>row * op.weightsStride << 2);
    // values, what the choice goes by, the sums of groups; then which of the experts and groups may still be chosen.
    const values = scratch();
    const choice = values + (<usize>op.cols << 2);
    const sums = choice + (<usize>op.cols << 2);
    const open = sums + (<usize>op.groups << 2);
    const openGroups = open + op.cols;
    score(op, scores, values);
    for (let i = 0; i < op.cols; i++) {
      const bias: f32 = op.choiceBias == 0 ? 0 : load<f32>(op.choiceBias + (<usize>i << 2));
      store<f32>(choice + (<usize>i << 2), load<f32>(values + (<usize>i << 2)) + bias);
    }
    openBestGroups(op, choice, sums, open, openGroups);
    for (let place = 0; place < op.topK; place++) {
      const expert = takeBest(choice, open, op.cols);
      store<f32>(experts + (<usize>place << 2), <f32>expert);
      store<f32>(weights + (<usize>place << 2), load<f32>(values + (<usize>expert << 2)));
    }
    weigh(op, weights);
  }
}

function score(op: Route, scores: usize, values: usize): void {
  if (op.scoring == SOFTMAX) {
    memory.copy(values, scores, <usize>op.cols << 2);
    softmax(values, op.cols);
    return;
  }
  for (let i = 0; i < op.cols; i++) {
    const x = load<f32>(scores + (<usize>i << 2));
    store<f32>(values + (<usize>i << 2), op.scoring == SIGMOID ? 1 / (1 + exp1(-x)) : x);
  }
}

/** In place. */
function softmax(values: usize, count: i32): void {
  const end = values + (<usize>count << 2);
  let most = load<f32>(values);
  for (let at = values; at < end; at += 4) most = max(most, load<f32>(at));
  let sum: f32 = 0;
  for (let at = values; at < end; at += 4) {
    const power = exp1(load<f32>(at) - most);
    store<f32>(at, power);
    sum += power;
  }
  for (let at = values; at < end; at += 4) store<f32>(at, load<f32>(at) / sum);
}

/** Leaves open the experts of the groups whose two best have the largest sums. */
function openBestGroups(op: Route, choice: usize, sums: usize, open: usize, openGroups: usize): void {
  const size = op.cols / op.groups;
  memory.fill(open, op.groups == op.topKGroup ? 1 : 0, op.cols);
  if (op.groups == op.topKGroup) return;
  for (let group = 0; group < op.groups; group++) {
    const from = choice + (<usize>(group * size) << 2);
    memory.fill(open, 1, size);
    let sum = load<f32>(from + (<usize>takeBest(from, open, size) << 2));
    if (size > 1) sum += load<f32>(from + (<usize>takeBest(from, open, size) << 2));
    store<f32>(sums + (<usize>group << 2), sum);
  }
  memory.fill(open, 0, op.cols);
  memory.fill(openGroups, 1, op.groups);
  for (let i = 0; i < op.topKGroup; i++) {
    memory.fill(open + <usize>(takeBest(sums, openGroups, op.groups) * size), 1, size);
  }
}

/** The place of the largest of the open values, the first of equal ones; closes it. */
function takeBest(values: usize, open: usize, count: i32): i32 {
  let best = -1;
  let most: f32 = 0;
  for (let i = 0; i < count; i++) {
    if (load<u8>(open + i) == 0) continue;
    const value = load<f32>(values + (<usize>i << 2));
    if (best == -1 || value > most) {
      best = i;
      most = value;
    }
  }
  store<u8>(open + best, 0);
  return best;
}

function weigh(op: Route, weights: usize): void {
  if (op.scoring == SOFTMAX_OF_CHOSEN) softmax(weights, op.topK);
  const end = weights + (<usize>op.topK << 2);
  let divisor: f32 = 1;
  if (op.normalise) {
    divisor = 1e-20;
    for (let at = weights; at < end; at += 4) divisor += load<f32>(at);
  }
  for (let at = weights; at < end; at += 4) store<f32>(at, load<f32>(at) / divisor * op.scale);
}
