import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { nameSoftwareDriver } from "./node-vulkan.ts";

test("leaves a driver alone that the user named", () => {
  const named = { VK_DRIVER_FILES: "/opt/driver.json" };
  nameSoftwareDriver(named);
  expect(named).toEqual({ VK_DRIVER_FILES: "/opt/driver.json" });
  const old = { VK_ICD_FILENAMES: "/opt/driver.json" };
  nameSoftwareDriver(old);
  expect(old).toEqual({ VK_ICD_FILENAMES: "/opt/driver.json" });
});

test("names only a driver that is there", () => {
  const env: NodeJS.ProcessEnv = {};
  nameSoftwareDriver(env);
  const driver = env["VK_DRIVER_FILES"];
  if (driver !== undefined) expect(existsSync(driver)).toBe(true);
  expect(Object.keys(env).filter((name) => name !== "VK_DRIVER_FILES")).toEqual([]);
});
