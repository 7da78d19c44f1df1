// Stands in for the kernels of flash attention in our build of llama.cpp's CUDA backend (cuda.ts): it says that there are
// none, and ggml computes attention, where a model has any, as products and a softmax.
#include "common.cuh"
#include "fattn.cuh"

bool ggml_cuda_flash_attn_ext_supported(int, const ggml_tensor *) { return false; }

void ggml_cuda_flash_attn_ext(ggml_backend_cuda_context &, ggml_tensor *) {
  GGML_ABORT("this build has no flash attention");
}

size_t ggml_cuda_flash_attn_ext_get_alloc_size(int, const ggml_tensor *dst) { return ggml_nbytes(dst); }
