import { KernelError } from "../../spec/errors.ts";
import { slotsOf, type Dispatch, type Shader } from "../../wgsl/dispatch.ts";
import { withConstantParams } from "./constant-params.ts";
import type { GpuDevice } from "./device.ts";

/** Shader modules, layouts and pipelines of a device, each made once. */
export interface Pipelines {
  /**
   * @param isConstant whether the params are compiled in; the uniform is then bound and not read
   * @throws KernelError `backend` with the compiler's messages, `device-lost`
   */
  pipeline(dispatch: Dispatch, isConstant?: boolean): Promise<GPUComputePipeline>;
  /** Params, arena, so many read-only buffers, and behind these so many state slots. */
  layout(reads: number, slots: number): GPUBindGroupLayout;
}

/** Empty caches. */
export function createPipelines(gpu: GpuDevice): Pipelines {
  const { device } = gpu;
  const modules = new Map<string, Promise<GPUShaderModule>>();
  const pipelines = new Map<string, Promise<GPUComputePipeline>>();
  const layouts = new Map<string, GPUBindGroupLayout>();
  const pipelineLayouts = new Map<string, GPUPipelineLayout>();
  const entry = (binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry => ({
    binding,
    visibility: GPUShaderStage.COMPUTE,
    buffer: { type },
  });

  function layout(reads: number, slots: number): GPUBindGroupLayout {
    return made(layouts, `${reads} ${slots}`, () => {
      const read = Array.from({ length: reads }, (_, i) => entry(i + 2, "read-only-storage"));
      const states = Array.from({ length: slots }, (_, i) =>
        entry(firstSlot(reads) + i, "storage"),
      );
      return device.createBindGroupLayout({
        label: `operands, ${reads} read, ${slots} states`,
        entries: [entry(0, "uniform"), entry(1, "storage"), ...read, ...states],
      });
    });
  }

  function pipelineLayout(dispatch: Dispatch): GPUPipelineLayout {
    const [reads, slots] = [dispatch.reads.length, slotsOf(dispatch).length];
    return made(pipelineLayouts, `${reads} ${slots}`, () =>
      device.createPipelineLayout({ bindGroupLayouts: [layout(reads, slots)] }),
    );
  }

  return {
    layout,
    pipeline(dispatch, isConstant = false) {
      const { shader, entryPoint, constants, reads } = dispatch;
      const params = isConstant ? dispatch.params : null;
      const ofModule = `${moduleKey(shader)} ${reads.length} ${params?.join(" ") ?? ""}`;
      const key = `${ofModule} ${entryPoint} ${JSON.stringify(constants)}`;
      return made(pipelines, key, async () => {
        const module = await made(modules, ofModule, () =>
          compileModule(gpu, shader, reads.length, params),
        );
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

/** Where the state slots are bound: behind params, arena and what is read. */
export function firstSlot(reads: number): number {
  return reads + 2;
}

/**
 * The shader's text: directives must come first, then the sizes that arrays need. Shaders write state slots as group 1; they
 * are bound with the rest, because each group costs a call a dispatch, and calls are what a small model's decode waits for.
 */
function sourceOf(shader: Shader, reads: number, params: readonly number[] | null): string {
  const { parts, consts = {} } = shader;
  const text = [
    ...extensionsOf(shader).map((extension) => `enable ${extension};\n`),
    ...Object.entries(consts).map(([name, value]) => `const ${name}: u32 = ${value}u;\n`),
    ...parts,
  ].join("\n");
  const whole = params === null ? text : withConstantParams(text, params);
  return whole.replaceAll(
    /@group\(1\) @binding\((\d+)\)/g,
    (_, slot: string) => `@group(0) @binding(${firstSlot(reads) + Number(slot)})`,
  );
}

async function compileModule(
  gpu: GpuDevice,
  shader: Shader,
  reads: number,
  params: readonly number[] | null,
): Promise<GPUShaderModule> {
  const code = sourceOf(shader, reads, params);
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
