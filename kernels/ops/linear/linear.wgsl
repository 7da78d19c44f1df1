// linear: y = gain · act(scale · (f Wᵀ + bias)) + residual_scale · residual, for few rows of x (see linear-row.wgsl for one,
// linear-tiled.wgsl for many). f comes from x by prologue.wgsl; of an op `linear` alone f is x, and all scales are 1.
// Source:   matrix-vector products; memory bound, so each packed weight is read once for X_ROWS rows of x.
// Grid:     a team of TEAM lanes computes 4 rows of W times X_ROWS (4, 8 or 16) rows of x over a part of the columns;
//           SPLIT neighbouring teams share the columns, TEAMS teams a workgroup. Lanes stride over a row of W by 16
//           bytes, so a team reads consecutive memory. A matrix that is split over buffers is one dispatch a part. Sums
//           are named, not an array: arrays in a loop are memory to some compilers.
// Numerics: f32 throughout; lane sums, then the team's, then the teams' in a fixed order.
override X_ROWS: u32;
override SPLIT: u32;  // a power of two that divides TEAMS
override ACT: u32;

var<workgroup> partial: array<vec4<f32>, TEAMS * X_ROWS>;

// Four columns of 4 rows of W.
struct Columns {
  stored: mat4x4<f32>,
  scale: vec4<f32>,
  min: vec4<f32>,
}

// Their products with four factors.
fn products(w: Columns, f: vec4<f32>) -> vec4<f32> {
  let sums = w.scale * (f * w.stored);
  if (HAS_MIN) {
    return sums - w.min * (f.x + f.y + f.z + f.w);
  }
  return sums;
}

// The products with rows first … first + 3 of x, a column each.
fn four_products(w: Columns, first: u32, k: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    products(w, factors(first, k)),
    products(w, factors(first + 1u, k)),
    products(w, factors(first + 2u, k)),
    products(w, factors(first + 3u, k)),
  );
}

// Row r of x times 4 rows of W, to y.
fn write_sums(sums: vec4<f32>, x_row: u32, first_w: u32, lane: u32) {
  if (x_row >= params.rows) {
    return;
  }
  for (var r = lane; r < 4u; r += TEAM) {
    if (first_w + r < params.part_rows) {
      let out = params.first_row + first_w + r;
      // Not sums[r]: what is indexed by a variable is memory to some compilers, too.
      var value = select(select(sums.x, sums.y, r == 1u), select(sums.z, sums.w, r == 3u), r > 1u);
      if (params.has_bias == 1u) {
        value += bias[out];
      }
      value = params.gain * activate(ACT, params.scale * value);
      if (params.has_residual == 1u) {
        value += params.residual_scale * arena_at(params.residual_offset + x_row * params.residual_stride + out);
      }
      finish(x_row, out, value);
    }
  }
}

@compute @workgroup_size(TEAM * TEAMS)
fn linear(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let own = thread / TEAM;
  let lane = thread % TEAM;
  let part = own % SPLIT;
  let index = (workgroup_index(workgroup, grid) * TEAMS + own) / SPLIT;
  let row_groups = (params.part_rows + 3u) / 4u;
  let first_x = (index / row_groups) * X_ROWS;
  let first_w = (index % row_groups) * 4u;
  // Rows beyond the end are computed as the last one and not written.
  let w = min(vec4<u32>(first_w) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.part_rows - 1u));

  var acc0 = mat4x4<f32>();
  var acc1 = mat4x4<f32>();
  var acc2 = mat4x4<f32>();
  var acc3 = mat4x4<f32>();
  for (var v = part * TEAM + lane; v < params.row_vectors; v += SPLIT * TEAM) {
    let packed0 = values[w.x * params.row_vectors + v];
    let packed1 = values[w.y * params.row_vectors + v];
    let packed2 = values[w.z * params.row_vectors + v];
    let packed3 = values[w.w * params.row_vectors + v];
    let block0 = block_of(w.x * params.scale_words, v);
    let block1 = block_of(w.y * params.scale_words, v);
    let block2 = block_of(w.z * params.scale_words, v);
    let block3 = block_of(w.w * params.scale_words, v);
    let min = vec4<f32>(block0.min, block1.min, block2.min, block3.min);
    for (var quarter = 0u; quarter < VALUES / 4u; quarter += 1u) {
      let four = Columns(
        mat4x4<f32>(
          four_stored(packed0, block0, quarter),
          four_stored(packed1, block1, quarter),
          four_stored(packed2, block2, quarter),
          four_stored(packed3, block3, quarter),
        ),
        vec4<f32>(
          scale_in(block0, quarter),
          scale_in(block1, quarter),
          scale_in(block2, quarter),
          scale_in(block3, quarter),
        ),
        min,
      );
      let k = v * VALUES + 4u * quarter;
      acc0 += four_products(four, first_x, k);
      if (X_ROWS > 4u) {
        acc1 += four_products(four, first_x + 4u, k);
      }
      if (X_ROWS > 8u) {
        acc2 += four_products(four, first_x + 8u, k);
        acc3 += four_products(four, first_x + 12u, k);
      }
    }
  }

  gather(acc0, 0u, first_x, first_w, thread);
  if (X_ROWS > 4u) {
    gather(acc1, 4u, first_x, first_w, thread);
  }
  if (X_ROWS > 8u) {
    gather(acc2, 8u, first_x, first_w, thread);
    gather(acc3, 12u, first_x, first_w, thread);
  }
}

// Writes four rows of x. All threads of the workgroup must call.
fn gather(acc: mat4x4<f32>, row: u32, first_x: u32, first_w: u32, thread: u32) {
  gather_row(acc[0], row, first_x, first_w, thread);
  gather_row(acc[1], row + 1u, first_x, first_w, thread);
  gather_row(acc[2], row + 2u, first_x, first_w, thread);
  gather_row(acc[3], row + 3u, first_x, first_w, thread);
}

fn gather_row(acc: vec4<f32>, row: u32, first_x: u32, first_w: u32, thread: u32) {
  let own = thread / TEAM;
  let lane = thread % TEAM;
  let sums = across_teams(team_sums(acc, thread), row, own, lane);
  if (own % SPLIT == 0u) {
    write_sums(sums, first_x + row, first_w, lane);
  }
}

// Σ over the teams that share rows of W, in the first of them; `slot` is one of X_ROWS places. All threads must call.
fn across_teams(sums: vec4<f32>, slot: u32, own: u32, lane: u32) -> vec4<f32> {
  if (SPLIT == 1u) {
    return sums;
  }
  if (lane == 0u) {
    partial[own * X_ROWS + slot] = sums;
  }
  workgroupBarrier();
  var total = sums;
  if (own % SPLIT == 0u) {
    for (var other = 1u; other < SPLIT; other += 1u) {
      total += partial[(own + other) * X_ROWS + slot];
    }
  }
  return total;
}
