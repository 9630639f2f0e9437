// node node.mjs PACKAGE TASKS OUT: the tasks of TASKS with the onnxruntime-web of PACKAGE, one thread of WASM.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { runTask } from "./run_models.mjs";

const [packageFolder, tasksFile, out] = process.argv.slice(2);
const ort = await import(pathToFileURL(path.join(packageFolder, "dist", "ort.wasm.min.mjs")));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const { root, tasks } = JSON.parse(fs.readFileSync(tasksFile, "utf8"));
const load = async (file) => new Uint8Array(fs.readFileSync(path.join(root, file)));
const cpu = () => { const usage = process.cpuUsage(); return (usage.user + usage.system) / 1e3; };
const answers = {};
for (const task of tasks) answers[task.name] = await runTask(ort, load, cpu, "wasm", task);
fs.writeFileSync(out, JSON.stringify(answers));
