/**
 * Zamba and Zamba2 with flags that no golden model has, against float64 loops (models/testing/plain-layers.ts) that follow the
 * papers and transformers' modelling code, over random weights.
 */
import { test } from "vitest";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { expectPlain, folderOf, type PlainCase } from "../testing/plain-case.ts";
import {
  cut,
  plainAttend,
  plainConv,
  plainEmbedding,
  plainGate,
  plainGlu,
  plainLinear,
  plainMamba2,
  plainRmsNorm,
  plainRotate,
  plainSelectiveScan,
  plainSum,
  silu,
  type Rows,
} from "../testing/plain-layers.ts";
import { mamba2Shapes, named, randomTensors } from "../testing/random-tensors.ts";
import type { TestTensor } from "../testing/stored-tensors.ts";

type Shapes = Record<string, number[]>;
type Lookup = (name: string) => TestTensor;

const IDS = [3, 17, 0, 9, 9, 21, 5, 11];
const VOCABULARY = 23;
const relu = (x: number): number => Math.max(x, 0);

/** Dimensions of a shared block. */
interface Block {
  readonly dModel: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly rotate: boolean;
}

function headDimOf({ dModel, nHead }: Block): number {
  return (2 * dModel) / nHead;
}

/** Norms and attention of a shared block. */
function blockShapes(at: string, c: Block): Shapes {
  const { dModel, nHead, nKvHead } = c;
  const headDim = headDimOf(c);
  return {
    [`${at}input_layernorm.weight`]: [2 * dModel],
    [`${at}pre_ff_layernorm.weight`]: [dModel],
    [`${at}self_attn.q_proj.weight`]: [nHead * headDim, 2 * dModel],
    [`${at}self_attn.k_proj.weight`]: [nKvHead * headDim, 2 * dModel],
    [`${at}self_attn.v_proj.weight`]: [nKvHead * headDim, 2 * dModel],
    [`${at}self_attn.o_proj.weight`]: [dModel, nHead * headDim],
  };
}

/** A shared block's attention over x beside e, then the norm behind it; `added` gives what a layer adds to a projection. */
function sharedAttention(
  { x, e }: { readonly x: Rows; readonly e: Rows },
  w: Lookup,
  c: Block,
  added: (seen: Rows, name: string) => Rows | null,
): Rows {
  const headDim = headDimOf(c);
  const both = x.map((token, t) => [...token, ...(e[t] ?? [])]);
  const normed = plainRmsNorm(both, w("input_layernorm.weight"));
  const project = (name: string): Rows => {
    const plain = plainLinear(normed, w(`self_attn.${name}_proj.weight`));
    const own = added(normed, name);
    return own === null ? plain : plainSum(plain, own);
  };
  const turn = (rows: Rows): Rows => (c.rotate ? plainRotate(rows, headDim, headDim) : rows);
  const heads = { ...c, headDim, scale: (headDim / 2) ** -0.5 };
  const attended = plainAttend(turn(project("q")), turn(project("k")), project("v"), heads);
  const out = plainLinear(attended, w("self_attn.o_proj.weight"));
  return plainRmsNorm(out, w("pre_ff_layernorm.weight"));
}

/** Five layers, three of them hybrid; with two blocks by turns, every adapter and bias, or with none of these and fewer key heads. */
function zamba2(whole: boolean): PlainCase {
  const [dModel, dFf, rank, nBlock] = [16, 10, 3, whole ? 2 : 1];
  const block: Block = { dModel, nHead: 4, nKvHead: whole ? 4 : 2, rotate: whole };
  const mixer = { headDim: 8, nGroup: 2, dState: 5 };
  const hybrids = [0, 2, 3];
  const layer = (i: number): string => `model.layers.${i}.`;
  const inner = (i: number): string => layer(i) + (hybrids.includes(i) ? "mamba_decoder." : "");
  const shared = (hybrid: number): string =>
    `${layer(hybrids[hybrid % nBlock] ?? 0)}shared_transformer.`;
  const bias = (name: string, rows: number): Shapes => (whole ? { [`${name}.bias`]: [rows] } : {});
  const adapter = (list: string, hybrid: number, cols: number, rows: number): Shapes => ({
    [`${shared(hybrid)}${list}.${hybrid}.0.weight`]: [rank, cols],
    [`${shared(hybrid)}${list}.${hybrid}.1.weight`]: [rows, rank],
  });
  const feed = "feed_forward.gate_up_proj";
  const shapes = [
    ...[0, 1, 2, 3, 4].map((i): Shapes => ({
      [`${inner(i)}input_layernorm.weight`]: [dModel],
      ...mamba2Shapes(`${inner(i)}mamba.`, dModel, mixer),
      // z, x, B, C, dt
      ...bias(`${inner(i)}mamba.in_proj`, 4 * dModel + 2 * 10 + 4),
      ...bias(`${inner(i)}mamba.out_proj`, dModel),
    })),
    ...hybrids.map((i, hybrid): Shapes => ({
      [`${layer(i)}linear.weight`]: [dModel, dModel],
      ...blockShapes(shared(hybrid), block),
      [`${shared(hybrid)}${feed}.weight`]: [2 * dFf, dModel],
      ...bias(`${shared(hybrid)}${feed}`, 2 * dFf),
      [`${shared(hybrid)}feed_forward.down_proj.weight`]: [dModel, dFf],
      ...bias(`${shared(hybrid)}feed_forward.down_proj`, dModel),
      ...adapter(`${feed}_adapter_list`, hybrid, dModel, 2 * dFf),
      ...(whole ? adapter("self_attn.linear_q_adapter_list", hybrid, 32, 32) : {}),
      ...(whole ? adapter("self_attn.linear_k_adapter_list", hybrid, 32, 32) : {}),
      ...(whole ? adapter("self_attn.linear_v_adapter_list", hybrid, 32, 32) : {}),
    })),
  ];
  const tensors = randomTensors(
    {
      "model.embed_tokens.weight": [VOCABULARY, dModel],
      ...Object.assign({}, ...shapes),
      "model.final_layernorm.weight": [dModel],
    },
    92,
  );
  const w = named(tensors);
  const e = plainEmbedding(w("model.embed_tokens.weight"), IDS);
  let x = e;
  for (const i of [0, 1, 2, 3, 4]) {
    const hybrid = hybrids.indexOf(i);
    let input = x;
    if (hybrid !== -1) {
      const own = named(tensors, shared(hybrid));
      const optional = (name: string): TestTensor | undefined => (whole ? own(name) : undefined);
      const adapted = (seen: Rows, list: string): Rows =>
        plainLinear(
          plainLinear(seen, own(`${list}.${hybrid}.0.weight`)),
          own(`${list}.${hybrid}.1.weight`),
        );
      const fed = sharedAttention({ x, e }, own, block, (seen, name) =>
        whole ? adapted(seen, `self_attn.linear_${name}_adapter_list`) : null,
      );
      const gateUp = plainSum(
        plainLinear(fed, own(`${feed}.weight`), optional(`${feed}.bias`)),
        adapted(fed, `${feed}_adapter_list`),
      );
      const hidden = plainGlu(cut(gateUp, 0, dFf), cut(gateUp, dFf, dFf), relu);
      const down = "feed_forward.down_proj";
      const out = plainLinear(hidden, own(`${down}.weight`), optional(`${down}.bias`));
      input = plainSum(x, plainLinear(out, w(`${layer(i)}linear.weight`)));
    }
    const normed = plainRmsNorm(input, w(`${inner(i)}input_layernorm.weight`));
    const own = named(tensors, `${inner(i)}mamba.`);
    const biases = whole ? { input: own("in_proj.bias"), output: own("out_proj.bias") } : {};
    x = plainSum(x, plainMamba2(normed, own, { ...mixer, dtMin: 0.03 }, biases));
  }
  const last = plainRmsNorm(x, w("model.final_layernorm.weight"));
  return {
    files: folderOf(
      {
        model_type: "zamba2",
        vocab_size: VOCABULARY,
        hidden_size: dModel,
        num_hidden_layers: 5,
        layers_block_type: ["hybrid", "mamba", "hybrid", "hybrid", "mamba"],
        mamba_d_state: mixer.dState,
        mamba_ngroups: mixer.nGroup,
        n_mamba_heads: 4,
        intermediate_size: dFf,
        hidden_act: "relu",
        num_attention_heads: block.nHead,
        num_key_value_heads: block.nKvHead,
        num_mem_blocks: nBlock,
        adapter_rank: rank,
        add_bias_linear: whole,
        use_shared_attention_adapter: whole,
        use_mem_rope: whole,
        time_step_min: 0.03,
      },
      tensors,
    ),
    ids: IDS,
    logits: plainLinear(last, w("model.embed_tokens.weight")),
  };
}

/** Three heads of Mamba with biases in their projections, fewer key heads, an own head. */
function zamba(): PlainCase {
  const [dModel, dFf, nMamba, dState, rank] = [12, 9, 3, 5, 2];
  const block: Block = { dModel, nHead: 4, nKvHead: 2, rotate: false };
  const width = (2 * dModel) / nMamba;
  const hybrids = [1, 2];
  const layer = (i: number): string => `model.layers.${i}.`;
  const inner = (i: number): string => layer(i) + (hybrids.includes(i) ? "mamba_decoder." : "");
  const shared = "model.layers.1.shared_transf.";
  const shapes = [0, 1, 2].map((i): Shapes => ({
    [`${inner(i)}input_layernorm.weight`]: [dModel],
    [`${inner(i)}mamba.A_log`]: [nMamba, width, dState],
    [`${inner(i)}mamba.D`]: [nMamba, width],
    [`${inner(i)}mamba.conv1d.weight`]: [2 * dModel, 1, 4],
    [`${inner(i)}mamba.conv1d.bias`]: [2 * dModel],
    [`${inner(i)}mamba.dt_proj_bias`]: [nMamba, width],
    [`${inner(i)}mamba.dt_proj_weight`]: [nMamba, width, rank],
    [`${inner(i)}mamba.x_proj_weight`]: [nMamba, rank + 2 * dState, width],
    [`${inner(i)}mamba.in_proj.weight`]: [4 * dModel, dModel],
    [`${inner(i)}mamba.in_proj.bias`]: [4 * dModel],
    [`${inner(i)}mamba.out_proj.weight`]: [dModel, 2 * dModel],
    [`${inner(i)}mamba.out_proj.bias`]: [dModel],
    ...(hybrids.includes(i) ? { [`${layer(i)}linear.weight`]: [dModel, dModel] } : {}),
  }));
  const tensors = randomTensors(
    {
      "model.embed_tokens.weight": [VOCABULARY, dModel],
      ...Object.assign({}, ...shapes),
      ...blockShapes(shared, block),
      [`${shared}feed_forward.gate_proj.weight`]: [dFf, dModel],
      [`${shared}feed_forward.up_proj.weight`]: [dFf, dModel],
      [`${shared}feed_forward.down_proj.weight`]: [dModel, dFf],
      "model.final_layernorm.weight": [dModel],
      "lm_head.weight": [VOCABULARY, dModel],
    },
    93,
  );
  const w = named(tensors);
  const own = named(tensors, shared);
  const e = plainEmbedding(w("model.embed_tokens.weight"), IDS);
  let x = e;
  for (const i of [0, 1, 2]) {
    let input = x;
    if (hybrids.includes(i)) {
      const fed = sharedAttention({ x, e }, own, block, () => null);
      const hidden = plainGlu(
        plainLinear(fed, own("feed_forward.gate_proj.weight")),
        plainLinear(fed, own("feed_forward.up_proj.weight")),
        relu,
      );
      const out = plainLinear(hidden, own("feed_forward.down_proj.weight"));
      input = plainSum(x, plainLinear(out, w(`${layer(i)}linear.weight`)));
    }
    const normed = plainRmsNorm(input, w(`${inner(i)}input_layernorm.weight`));
    x = plainSum(x, zambaMixer(normed, named(tensors, `${inner(i)}mamba.`), nMamba));
  }
  const last = plainRmsNorm(x, w("model.final_layernorm.weight"));
  return {
    files: folderOf(
      {
        model_type: "zamba",
        vocab_size: VOCABULARY,
        tie_word_embeddings: false,
        hidden_size: dModel,
        intermediate_size: dFf,
        num_hidden_layers: 3,
        layers_block_type: ["mamba", "hybrid", "hybrid"],
        num_attention_heads: block.nHead,
        num_key_value_heads: block.nKvHead,
        n_mamba_heads: nMamba,
        hidden_act: "relu",
        mamba_d_state: dState,
        mamba_dt_rank: rank,
        mamba_proj_bias: true,
      },
      tensors,
    ),
    ids: IDS,
    logits: plainLinear(last, w("lm_head.weight")),
  };
}

/** u and z lie channel by channel; then each head is a Mamba of its own. arXiv:2405.16712 §2 */
function zambaMixer(x: Rows, w: Lookup, nHead: number): Rows {
  const [, width = 0, dState = 0] = w("A_log").shape;
  const [, projectedRows = 0] = w("x_proj_weight").shape;
  const rank = projectedRows - 2 * dState;
  const projected = plainLinear(x, w("in_proj.weight"), w("in_proj.bias"));
  const every = (odd: number): Rows =>
    projected.map((token) => token.filter((_, i) => i % 2 === odd));
  const conv = plainConv(every(0), w("conv1d.weight"), w("conv1d.bias"));
  const u = conv.map((token) => token.map(silu));
  const heads = Array.from({ length: nHead }, (_, head) => {
    const share = (name: string): TestTensor => {
      const { shape, values } = w(name);
      const size = values.length / nHead;
      return { shape: shape.slice(1), values: values.slice(head * size, (head + 1) * size) };
    };
    const own = cut(u, head * width, width);
    const dtBC = plainLinear(own, share("x_proj_weight"));
    const dt = plainLinear(cut(dtBC, 0, rank), share("dt_proj_weight"), share("dt_proj_bias"));
    const [B, C] = [cut(dtBC, rank, dState), cut(dtBC, rank + dState, dState)];
    return plainSelectiveScan(own, dt, { B, C }, { ALog: share("A_log"), D: share("D") });
  });
  const y = x.map((_, t) => heads.flatMap((head) => head[t] ?? []));
  return plainLinear(plainGate(y, every(1)), w("out_proj.weight"), w("out_proj.bias"));
}

forEachBackend("flags of Zamba", (backend) => {
  test.each<readonly [string, () => PlainCase]>([
    ["Zamba2 with every adapter and bias, two blocks, rotation", () => zamba2(true)],
    ["Zamba2 with one block and grouped key heads", () => zamba2(false)],
    ["Zamba with biases, three heads of Mamba, grouped key heads", zamba],
  ])("%s gives what float64 loops give", async (_, build) => {
    await expectPlain(backend(), build());
  });
});
