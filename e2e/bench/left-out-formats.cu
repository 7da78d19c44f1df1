// Stands in for the matrix products of the number formats that the benchmark never measures, in our build of llama.cpp's CUDA
// backend (cuda.ts): each takes more than a minute to compile.
#include "common.cuh"

struct mmq_args;
template <ggml_type type> void mul_mat_q_case(ggml_backend_cuda_context &, const mmq_args &, cudaStream_t);

#define LEFT_OUT(type)                                                                                                 \
  template <> void mul_mat_q_case<type>(ggml_backend_cuda_context &, const mmq_args &, cudaStream_t) {                 \
    GGML_ABORT("this build has no products of " #type);                                                                \
  }

LEFT_OUT(GGML_TYPE_Q1_0)
LEFT_OUT(GGML_TYPE_Q2_0)
LEFT_OUT(GGML_TYPE_Q4_1)
LEFT_OUT(GGML_TYPE_Q5_0)
LEFT_OUT(GGML_TYPE_Q5_1)
LEFT_OUT(GGML_TYPE_Q2_K)
LEFT_OUT(GGML_TYPE_Q3_K)
LEFT_OUT(GGML_TYPE_IQ1_S)
LEFT_OUT(GGML_TYPE_IQ2_XXS)
LEFT_OUT(GGML_TYPE_IQ2_XS)
LEFT_OUT(GGML_TYPE_IQ2_S)
LEFT_OUT(GGML_TYPE_IQ3_XXS)
LEFT_OUT(GGML_TYPE_IQ3_S)
LEFT_OUT(GGML_TYPE_IQ4_NL)
LEFT_OUT(GGML_TYPE_IQ4_XS)
LEFT_OUT(GGML_TYPE_MXFP4)
LEFT_OUT(GGML_TYPE_NVFP4)
