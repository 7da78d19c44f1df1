// linear of one row of x, the step of decode: y = gain · act(scale · (s · f Wᵀ + bias)) + residual_scale · residual. f and s
// come from x by prologue.wgsl; of an op `linear` alone f is x, s and all scales are 1.
// Source:   matrix-vector product; memory bound: each packed weight is read once.
// Grid:     a team of TEAM lanes computes ROWS rows of W over a part of the columns; SPLIT neighbouring teams share the
//           columns, TEAMS teams a workgroup. Lanes stride over a row of W by 16 bytes, so a team reads consecutive memory. A
//           matrix that is split over buffers is one dispatch a part. Sums are named, not an array: arrays in a loop are
//           memory to some compilers.
// Numerics: f32 throughout; lane sums, then the team's, then the teams' in a fixed order.
override SPLIT: u32;  // divides TEAMS
override ROWS: u32;   // 1, 2 or 4
override ACT: u32;

var<workgroup> partial: array<vec4<f32>, TEAMS>;
var<workgroup> partial_squares: array<f32, TEAMS>;

// What four columns of one row of W give with four factors.
fn row_product(packed: vec4<u32>, block: Block, quarter: u32, f: vec4<f32>) -> f32 {
  let sum = scale_in(block, quarter) * dot(f, four_stored(packed, block, quarter));
  if (HAS_MIN) {
    return sum - block.min * (f.x + f.y + f.z + f.w);
  }
  return sum;
}

// The vector `v` of row `row` of W, and what its values share.
fn values_at(row: u32, v: u32) -> vec4<u32> {
  return values[row * params.row_vectors + v];
}

fn block_at(row: u32, v: u32) -> Block {
  return block_of(row * params.scale_words, v);
}

@compute @workgroup_size(TEAM * TEAMS)
fn linear_row(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let own = thread / TEAM;
  let lane = thread % TEAM;
  let part = own % SPLIT;
  let first_w = ((workgroup_index(workgroup, grid) * TEAMS + own) / SPLIT) * ROWS;
  // Rows beyond the end are computed as the last one and not written.
  let w = min(vec4<u32>(first_w) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.part_rows - 1u));
  // A subgroup has no fewer lanes than 4.
  let writes = part == 0u && lane < ROWS && first_w + lane < params.part_rows;
  let out = params.first_row + first_w + lane;
  // Asked for before all else, or the last teams would wait for it once more.
  var residual = 0.0;
  if (params.has_residual == 1u && writes) {
    residual = arena_at(params.residual_offset + out);
  }

  var acc = vec4<f32>();
  for (var v = part * TEAM + lane; v < params.row_vectors; v += SPLIT * TEAM) {
    let packed0 = values_at(w.x, v);
    let block0 = block_at(w.x, v);
    var packed1 = packed0;
    var packed2 = packed0;
    var packed3 = packed0;
    var block1 = block0;
    var block2 = block0;
    var block3 = block0;
    if (ROWS > 1u) {
      packed1 = values_at(w.y, v);
      block1 = block_at(w.y, v);
    }
    if (ROWS > 2u) {
      packed2 = values_at(w.z, v);
      packed3 = values_at(w.w, v);
      block2 = block_at(w.z, v);
      block3 = block_at(w.w, v);
    }
    for (var quarter = 0u; quarter < VALUES / 4u; quarter += 1u) {
      let f = factors(0u, v * VALUES + 4u * quarter);
      acc.x += row_product(packed0, block0, quarter, f);
      if (ROWS > 1u) {
        acc.y += row_product(packed1, block1, quarter, f);
      }
      if (ROWS > 2u) {
        acc.z += row_product(packed2, block2, quarter, f);
        acc.w += row_product(packed3, block3, quarter, f);
      }
    }
  }

  var sums = team_sums(acc, thread);
  var squares = 0.0;
  if (NORM != NONE) {
    squares = team_sum(squares_of_lane, thread);
  }
  if (SPLIT > 1u) {
    if (lane == 0u) {
      partial[own] = sums;
      partial_squares[own] = squares;
    }
    workgroupBarrier();
    if (part == 0u) {
      for (var other = 1u; other < SPLIT; other += 1u) {
        sums += partial[own + other];
        squares += partial_squares[own + other];
      }
    }
  }
  if (NORM != NONE) {
    sums /= sqrt(squares / params.divisor + params.eps);
  }
  if (writes) {
    // Not sums[lane]: what is indexed by a variable is memory to some compilers, too.
    var value = select(select(sums.x, sums.y, lane == 1u), select(sums.z, sums.w, lane == 3u), lane > 1u);
    if (params.has_bias == 1u) {
      value += bias[out];
    }
    value = params.gain * activate(ACT, params.scale * value) + params.residual_scale * residual;
    finish(0u, out, value);
  }
}
