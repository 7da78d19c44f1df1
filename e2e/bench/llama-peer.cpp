// llama.cpp through its C API, as one engine of a benchmark. Reads a command a line, answers each with one line of JSON:
//
//   prefill ID,ID,…     computes the prompt                                   {"seconds":…}
//   decode N ID,ID,…    computes the prompt, then times N steps of one token  {"seconds":…}
//   answer N ID,ID,…    the logits after the prompt, N greedy tokens          {"logits":[…],"tokens":[…],"margins":[…]}
//
// The first line that it writes says what it runs on. A step of decode chooses the next token too, as every program must.
// The libraries are opened at run time: to build this file takes only llama.cpp's headers, and one binary serves all builds
// of the libraries (CPU, Vulkan, CUDA). Whatever goes wrong is said on standard error and ends the process with status 1.
#include "ggml-backend.h"
#include "llama.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string &message) {
  std::cerr << "llama-peer: " << message << std::endl;
  std::exit(1);
}

struct Options {
  std::string libraries, model, device;
  int threads = 2;
  int batch = 512;
  int context = 4096;
  bool gpu = false;
  bool exact = false; // keys and values in f32, no repacked weights
};

Options readOptions(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--gpu") options.gpu = true;
    else if (name == "--exact") options.exact = true;
    else if (i + 1 >= argc) fail("unknown option, or no value: " + name);
    else if (name == "--libraries") options.libraries = argv[++i];
    else if (name == "--model") options.model = argv[++i];
    else if (name == "--device") options.device = argv[++i];
    else if (name == "--threads") options.threads = std::atoi(argv[++i]);
    else if (name == "--batch") options.batch = std::atoi(argv[++i]);
    else if (name == "--context") options.context = std::atoi(argv[++i]);
    else fail("unknown option: " + name);
  }
  if (options.libraries.empty() || options.model.empty()) fail("--libraries and --model are needed");
  return options;
}

// ---- the libraries

std::vector<void *> opened;

// File names carry a version (libllama.v0.5.0.so, libllama.vulkan.v0.5.0.so), hence the search by prefix.
void openLibrary(const std::string &folder, const std::string &prefix) {
  for (const auto &entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(prefix, 0) != 0 || entry.path().extension() != ".so") continue;
    void *library = dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (!library) fail(dlerror());
    opened.push_back(library);
    return;
  }
  fail("no " + prefix + "*.so in " + folder);
}

void *find(const char *name) {
  for (void *library : opened)
    if (void *address = dlsym(library, name)) return address;
  fail(std::string("the libraries have no ") + name + ": they are of another version than the headers");
}

// A function of the libraries, with the type that the header gives it.
#define API(name) static const auto name = reinterpret_cast<decltype(&::name)>(find(#name))

void onLog(ggml_log_level level, const char *text, void *) {
  if (level == GGML_LOG_LEVEL_ERROR || std::getenv("LLAMA_PEER_VERBOSE")) std::fputs(text, stderr);
}

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string quoted(const char *text) {
  std::string out = "\"";
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') out += '\\';
    if (static_cast<unsigned char>(*text) >= 32) out += *text;
  }
  return out + '"';
}

// ---- the engine

class Engine {
public:
  explicit Engine(const Options &options) : batch(options.batch) {
    API(llama_log_set);
    API(ggml_backend_load_all_from_path);
    API(llama_backend_init);
    API(llama_model_default_params);
    API(llama_model_load_from_file);
    API(llama_context_default_params);
    API(llama_init_from_model);
    API(llama_get_memory);
    API(llama_model_get_vocab);
    API(llama_vocab_n_tokens);
    llama_log_set(onLog, nullptr);
    ggml_backend_load_all_from_path(options.libraries.c_str()); // picks the CPU variant that fits the processor
    llama_backend_init();

    // A list that ends with null; an empty one keeps all on the CPU even if the libraries know a GPU.
    ggml_backend_dev_t devices[2] = {options.gpu ? findDevice(options.device) : nullptr, nullptr};
    llama_model_params model_params = llama_model_default_params();
    model_params.devices = devices;
    model_params.n_gpu_layers = options.gpu ? 999 : 0;
    model_params.use_extra_bufts = !options.exact;
    const double start = now();
    llama_model *model = llama_model_load_from_file(options.model.c_str(), model_params);
    if (!model) fail("cannot load " + options.model);

    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx = options.context;
    context_params.n_batch = options.batch;
    context_params.n_ubatch = options.batch;
    context_params.n_threads = options.threads;
    context_params.n_threads_batch = options.threads;
    context_params.n_seq_max = 1;
    context_params.no_perf = true;
    if (options.exact) {
      context_params.type_k = GGML_TYPE_F32;
      context_params.type_v = GGML_TYPE_F32;
      context_params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    context = llama_init_from_model(model, context_params);
    if (!context) fail("cannot make a context of " + std::to_string(options.context) + " tokens");
    memory = llama_get_memory(context);
    vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    introduce(options, devices[0], now() - start);
  }

  double prefill(std::vector<llama_token> prompt) {
    clear();
    const double start = now();
    feed(prompt);
    return now() - start;
  }

  double decode(int count, std::vector<llama_token> prompt) {
    clear();
    feed(prompt);
    std::vector<llama_token> next(1, best());
    const double start = now();
    for (int i = 0; i < count; i++) {
      feed(next);
      next[0] = best();
    }
    return now() - start;
  }

  void answer(int count, std::vector<llama_token> prompt) {
    clear();
    feed(prompt);
    std::ostringstream out;
    out.precision(9); // brings the same float back
    out << "{\"logits\":[";
    const float *values = logits();
    for (int i = 0; i < vocabulary; i++) out << (i ? "," : "") << values[i];
    std::ostringstream tokens, margins;
    margins.precision(9);
    for (int i = 0; i < count; i++) {
      std::vector<llama_token> next(1, best());
      tokens << (i ? "," : "") << next[0];
      margins << (i ? "," : "") << margin(next[0]);
      feed(next);
    }
    out << "],\"tokens\":[" << tokens.str() << "],\"margins\":[" << margins.str() << "]}";
    std::cout << out.str() << std::endl;
  }

private:
  llama_context *context = nullptr;
  llama_memory_t memory = nullptr;
  int vocabulary = 0;
  int batch;

  static ggml_backend_dev_t findDevice(const std::string &part) {
    API(ggml_backend_dev_count);
    API(ggml_backend_dev_get);
    API(ggml_backend_dev_name);
    std::string known;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
      ggml_backend_dev_t device = ggml_backend_dev_get(i);
      if (std::strstr(ggml_backend_dev_name(device), part.c_str())) return device;
      known += std::string(" ") + ggml_backend_dev_name(device);
    }
    fail("no device called " + part + "; there are:" + known);
  }

  void introduce(const Options &options, ggml_backend_dev_t device, double load) {
    API(llama_print_system_info);
    API(ggml_backend_dev_description);
    std::cout << "{\"vocabulary\":" << vocabulary << ",\"loadSeconds\":" << load << ",\"threads\":" << options.threads
              << ",\"device\":" << (device ? quoted(ggml_backend_dev_description(device)) : "null")
              << ",\"system\":" << quoted(llama_print_system_info()) << "}" << std::endl;
  }

  void clear() {
    API(llama_memory_clear);
    llama_memory_clear(memory, true);
  }

  void feed(std::vector<llama_token> &tokens) {
    API(llama_decode);
    API(llama_batch_get_one);
    API(llama_synchronize);
    for (size_t at = 0; at < tokens.size(); at += batch) {
      const int count = std::min<size_t>(batch, tokens.size() - at);
      if (llama_decode(context, llama_batch_get_one(tokens.data() + at, count))) fail("llama_decode failed");
    }
    llama_synchronize(context);
  }

  const float *logits() {
    API(llama_get_logits_ith);
    return llama_get_logits_ith(context, -1);
  }

  llama_token best() {
    const float *values = logits();
    const int index = std::max_element(values, values + vocabulary) - values;
    if (!std::isfinite(values[index])) fail("the logits are not finite");
    return index;
  }

  // How far the largest logit is above the next.
  float margin(llama_token largest) {
    const float *values = logits();
    float second = -INFINITY;
    for (int i = 0; i < vocabulary; i++)
      if (i != largest) second = std::max(second, values[i]);
    return values[largest] - second;
  }
};

std::vector<llama_token> readIds(std::istringstream &line) {
  std::vector<llama_token> ids;
  std::string part;
  line >> std::ws;
  while (std::getline(line, part, ',')) ids.push_back(std::atoi(part.c_str()));
  if (ids.empty()) fail("a command without token ids");
  return ids;
}

} // namespace

int main(int argc, char **argv) {
  const Options options = readOptions(argc, argv);
  openLibrary(options.libraries, "libggml-base");
  openLibrary(options.libraries, "libggml.");
  openLibrary(options.libraries, "libllama.");
  Engine engine(options);
  std::cout.precision(9);
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    std::string command;
    int count = 0;
    line >> command;
    if (command == "decode" || command == "answer") line >> count;
    if (command == "prefill") std::cout << "{\"seconds\":" << engine.prefill(readIds(line)) << "}" << std::endl;
    else if (command == "decode") std::cout << "{\"seconds\":" << engine.decode(count, readIds(line)) << "}" << std::endl;
    else if (command == "answer") engine.answer(count, readIds(line));
    else fail("unknown command: " + command);
  }
  std::cout.flush();
  std::_Exit(0); // the libraries' own clearing away is not of interest, and crashes in some builds
}
