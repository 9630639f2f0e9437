// What both consumers do: run every task's feeds, keep the outputs, and time float and int8 files side by side.
// `ort` is onnxruntime-web, `load` fetches a file as bytes, `cpu` reads milliseconds (processor time where there is such a clock).

const ARRAYS = {
    float32: Float32Array, float64: Float64Array, float16: Uint16Array, int64: BigInt64Array, int32: Int32Array,
    uint8: Uint8Array, int8: Int8Array, bool: Uint8Array,
};

const toBase64 = (data) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = "";
    for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
    return btoa(text);
};

const makeTensor = async (ort, load, { file, dtype, shape }) => {
    const bytes = await load(file);
    return new ort.Tensor(dtype, new ARRAYS[dtype](bytes.slice().buffer), shape);
};

const makeFeeds = async (ort, load, feeds) =>
    Promise.all(feeds.map(async (feed) =>
        Object.fromEntries(await Promise.all(Object.entries(feed).map(async ([name, tensor]) => [name, await makeTensor(ort, load, tensor)])))));

// Answers of every file, and for each the quickest of interleaved rounds in milliseconds a run; none where there are no rounds.
export const runTask = async (ort, load, cpu, provider, task) => {
    const feeds = await makeFeeds(ort, load, task.feeds);
    const sessions = {}, answers = {};
    for (const [key, file] of Object.entries(task.files)) {
        try {
            const session = await ort.InferenceSession.create(await load(file), { executionProviders: [provider] });
            const outputs = [];
            for (const feed of feeds) {
                const results = await session.run(feed);
                outputs.push(Object.fromEntries(await Promise.all(Object.entries(results).map(async ([name, tensor]) => {
                    const data = await tensor.getData();
                    return [name, { dtype: tensor.type, shape: tensor.dims, data: toBase64(data) }];
                }))));
            }
            sessions[key] = session;
            answers[key] = { outputs };
        } catch (error) {
            answers[key] = { error: String(error).slice(0, 300) };
        }
    }
    const best = {}, repeats = {};
    for (const [key, session] of task.rounds ? Object.entries(sessions) : []) {
        const start = performance.now();
        await session.run(feeds[0]);
        repeats[key] = Math.max(1, Math.min(200, Math.ceil(task.round_ms / Math.max(performance.now() - start, 0.01))));
        best[key] = Infinity;
    }
    for (let round = 0; round < task.rounds; round++) {
        for (const [key, session] of Object.entries(sessions)) {
            const start = cpu();
            for (let i = 0; i < repeats[key]; i++) await session.run(feeds[0]);
            best[key] = Math.min(best[key], (cpu() - start) / repeats[key]);
        }
    }
    for (const [key, session] of Object.entries(sessions)) {
        if (key in best) answers[key].ms = best[key];
        await session.release();
    }
    return answers;
};
