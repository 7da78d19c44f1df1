// expert_lists: which places go to which expert, for expert-tiled.wgsl. A place is row · top_k + j.
// Source:   counting sort.
// Grid:     one workgroup; its lanes stride over the places.
// Numerics: whole numbers, kept as f32 (exact below 2^24). The order of an expert's places may differ from run to run:
//           each is computed by itself, so no result does.
const LANES = 256u;
override EXPERTS: u32;

struct Params {
  places: u32,
  top_k: u32,
  experts_offset: u32,
  experts_stride: u32,
  list_offset: u32,  // the places, by expert
  tiles_offset: u32, // for each tile of 64 places its expert, where in the list it begins, and how many places it has
  max_tiles: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> arena: array<f32>;

// The last bucket takes what is no expert.
var<workgroup> counts: array<atomic<u32>, EXPERTS + 1u>;
var<workgroup> starts: array<u32, EXPERTS + 1u>;
var<workgroup> first_tiles: array<u32, EXPERTS + 1u>;

fn bucket_of(place: u32) -> u32 {
  let row = place / params.top_k;
  let number = arena[params.experts_offset + row * params.experts_stride + place % params.top_k];
  return select(EXPERTS, u32(max(number, 0.0)), number >= 0.0 && number < f32(EXPERTS));
}

@compute @workgroup_size(LANES)
fn expert_lists(@builtin(local_invocation_index) lane: u32) {
  for (var place = lane; place < params.places; place += LANES) {
    atomicAdd(&counts[bucket_of(place)], 1u);
  }
  workgroupBarrier();
  if (lane == 0u) {
    var start = 0u;
    var tile = 0u;
    for (var bucket = 0u; bucket <= EXPERTS; bucket += 1u) {
      starts[bucket] = start;
      first_tiles[bucket] = tile;
      let count = atomicLoad(&counts[bucket]);
      start += count;
      tile += (count + 63u) / 64u;
    }
    // Tiles beyond the last have nothing to do.
    for (; tile < params.max_tiles; tile += 1u) {
      arena[params.tiles_offset + 3u * tile + 2u] = 0.0;
    }
  }
  workgroupBarrier();
  for (var bucket = lane; bucket <= EXPERTS; bucket += LANES) {
    let count = atomicLoad(&counts[bucket]);
    for (var begin = 0u; begin < count; begin += 64u) {
      let at = params.tiles_offset + 3u * (first_tiles[bucket] + begin / 64u);
      arena[at] = f32(bucket);
      arena[at + 1u] = f32(starts[bucket] + begin);
      arena[at + 2u] = f32(min(count - begin, 64u));
    }
  }
  workgroupBarrier();
  for (var bucket = lane; bucket <= EXPERTS; bucket += LANES) {
    atomicStore(&counts[bucket], starts[bucket]);
  }
  workgroupBarrier();
  for (var place = lane; place < params.places; place += LANES) {
    let at = atomicAdd(&counts[bucket_of(place)], 1u);
    arena[params.list_offset + at] = f32(place);
  }
}
