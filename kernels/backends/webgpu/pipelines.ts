import { KernelError } from "../../spec/errors.ts";
import { slotsOf, type Dispatch, type Shader } from "../../wgsl/dispatch.ts";
import type { GpuDevice } from "./device.ts";

/** Shader modules, layouts and pipelines of a device, each made once. */
export interface Pipelines {
  /** @throws KernelError `backend` with the compiler's messages, `device-lost` */
  pipeline(dispatch: Dispatch): Promise<GPUComputePipeline>;
  /** Group 0: params, arena, and so many read-only buffers. */
  operandLayout(reads: number): GPUBindGroupLayout;
  /** Group 1: so many state slots. */
  stateLayout(slots: number): GPUBindGroupLayout;
}

/** Empty caches. */
export function createPipelines(gpu: GpuDevice): Pipelines {
  const { device } = gpu;
  const modules = new Map<string, Promise<GPUShaderModule>>();
  const pipelines = new Map<string, Promise<GPUComputePipeline>>();
  const operandLayouts = new Map<number, GPUBindGroupLayout>();
  const stateLayouts = new Map<number, GPUBindGroupLayout>();
  const pipelineLayouts = new Map<string, GPUPipelineLayout>();
  const entry = (binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type },
  });

  function stateLayout(slots: number): GPUBindGroupLayout {
    return made(stateLayouts, slots, () =>
      device.createBindGroupLayout({
        label: `states, ${slots}`,
        entries: Array.from({ length: slots }, (_, index) => entry(index, "storage")),
      }),
    );
  }

  function operandLayout(reads: number): GPUBindGroupLayout {
    return made(operandLayouts, reads, () =>
      device.createBindGroupLayout({
        label: `operands, ${reads} read`,
        entries: [
          entry(0, "uniform"),
          entry(1, "storage"),
          ...Array.from({ length: reads }, (_, index) => entry(index + 2, "read-only-storage")),
        ],
      }),
    );
  }

  function pipelineLayout(dispatch: Dispatch): GPUPipelineLayout {
    const [reads, slots] = [dispatch.reads.length, slotsOf(dispatch).length];
    return made(pipelineLayouts, `${reads} ${slots}`, () =>
      device.createPipelineLayout({
        bindGroupLayouts:
          slots === 0 ? [operandLayout(reads)] : [operandLayout(reads), stateLayout(slots)],
      }),
    );
  }

  return {
    operandLayout,
    stateLayout,
    pipeline(dispatch) {
      const { shader, entryPoint, constants } = dispatch;
      const key = `${moduleKey(shader)} ${entryPoint} ${JSON.stringify(constants)}`;
      return made(pipelines, key, async () => {
        const module = await made(modules, moduleKey(shader), () => compileModule(gpu, shader));
        try {
          return await gpu.settle(
            device.createComputePipelineAsync({
              label: key,
              layout: pipelineLayout(dispatch),
              compute: { module, entryPoint, constants: { ...constants } },
            }),
          );
        } catch (error) {
          if (error instanceof KernelError && error.code === "device-lost") throw error;
          throw new KernelError(
            "backend",
            `pipeline ${key}: ${error instanceof Error ? error.message : String(error)}`,
            {
              shader: shader.name,
              entryPoint,
            },
          );
        }
      });
    },
  };
}

function moduleKey(shader: Shader): string {
  return `${[shader.name, ...extensionsOf(shader)].join(" ")} ${JSON.stringify(shader.consts ?? {})}`;
}

/** WGSL's names of what the shader needs. */
function extensionsOf({ subgroups, f16, subgroupMatrix }: Shader): string[] {
  return [
    ...(subgroups === true ? ["subgroups"] : []),
    ...(f16 === true ? ["f16"] : []),
    ...(subgroupMatrix === true ? ["chromium_experimental_subgroup_matrix"] : []),
  ];
}

/** The shader's text: directives must come first, then the sizes that arrays need. */
function sourceOf(shader: Shader): string {
  const { parts, consts = {} } = shader;
  return [
    ...extensionsOf(shader).map((extension) => `enable ${extension};\n`),
    ...Object.entries(consts).map(([name, value]) => `const ${name}: u32 = ${value}u;\n`),
    ...parts,
  ].join("\n");
}

async function compileModule(gpu: GpuDevice, shader: Shader): Promise<GPUShaderModule> {
  const code = sourceOf(shader);
  gpu.device.pushErrorScope("validation");
  const module = gpu.device.createShaderModule({ label: shader.name, code });
  const error = await gpu.settle(gpu.device.popErrorScope());
  if (error === null) return module;
  const { messages } = await gpu.settle(module.getCompilationInfo());
  const lines = code.split("\n");
  const report = messages
    .filter(({ type }) => type === "error")
    .map(({ lineNum, message }) => `${message} in \`${lines[lineNum - 1]?.trim() ?? ""}\``);
  throw new KernelError("backend", `shader ${shader.name}: ${report.join("; ") || error.message}`, {
    shader: shader.name,
  });
}

/** The value of a cache, made if it is not there. */
function made<K, V>(cache: Map<K, V>, key: K, make: () => V): V {
  const cached = cache.get(key);
  if (cached !== undefined) return cached;
  const value = make();
  cache.set(key, value);
  return value;
}
