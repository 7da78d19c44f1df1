import mambaConfig from "./mamba.config.json?raw";
import mambaGolden from "./mamba.golden.safetensors?url&inline";
import mambaWeights from "./mamba.model.safetensors?url&inline";
import mamba2Config from "./mamba2.config.json?raw";
import mamba2Golden from "./mamba2.golden.safetensors?url&inline";
import mamba2Weights from "./mamba2.model.safetensors?url&inline";

/** A tiny model and what it must compute; see README.md. */
export interface SelfTestAsset {
  readonly name: string;
  /** Model folder: config.json and model.safetensors. */
  readonly files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  /** A safetensors file of expected values. */
  readonly golden: Uint8Array<ArrayBuffer>;
}

/** Decoded anew by each call: the test runs once and need not stay in memory. */
export function selfTestAssets(): readonly SelfTestAsset[] {
  return [
    asset("Mamba-1", mambaConfig, mambaWeights, mambaGolden),
    asset("Mamba-2", mamba2Config, mamba2Weights, mamba2Golden),
  ];
}

function asset(name: string, config: string, weights: string, golden: string): SelfTestAsset {
  return {
    name,
    files: {
      "config.json": new TextEncoder().encode(config),
      "model.safetensors": fromDataUrl(weights),
    },
    golden: fromDataUrl(golden),
  };
}

/** `?url&inline` gives a data URL in base64. Not by fetch: the app's content security policy knows no data URLs. */
function fromDataUrl(url: string): Uint8Array<ArrayBuffer> {
  const binary = atob(url.slice(url.indexOf(",") + 1));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
