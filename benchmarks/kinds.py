"""Four kinds of model, each compressed by one command and judged with the metric of its kind.

Speech with state, photos with boxes, text regions, melodies. The inputs are made here: ``espeak-ng`` reads sentences,
scikit-image ships the photos, Pillow draws the text, and the melodies are sums of sines. So they stand for real inputs
as far as that goes, and the figures say how close a result stays to its original on them, not how good that is.

    python benchmarks/kinds.py ZOO [speech|photos|text|melody ...]

prints a table in Markdown; results and data stay in ``--work``. It wants ``espeak-ng``, and ``pip install scikit-image``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Arrays = list[dict[str, np.ndarray]]
RATE = 16_000

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "A compressed model is worth what its user can believe of it.",
    "Tomorrow it will rain in the north and be sunny in the south.",
    "Please leave a message after the tone.",
    "One two three four five six seven eight nine ten.",
    "She sells sea shells by the sea shore.",
    "The train to the city leaves at half past nine.",
    "Nobody expected the meeting to end so early.",
    "Water boils at one hundred degrees.",
    "He opened the door and looked outside.",
    "This is the end of the recording.",
    "Where did you put the keys to the car?",
)


def speech(rng: np.random.Generator, work: Path) -> Arrays:
    """One sequence a sentence: pause, speech, pause, in frames of 512 samples after 64 of the frame before."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    made = []
    for number, sentence in enumerate(SENTENCES):
        path = work / "said.wav"
        voice = ("en", "en-us", "en+f3", "en+m3")[number % 4]
        command = ["espeak-ng", "-v", voice, "-s", str(130 + 10 * (number % 5)), "-w", str(path), sentence]
        subprocess.run(command, check=True)
        rate, wave = wavfile.read(path)
        said = resample_poly(wave / 32768, 320, round(320 * rate / RATE))
        pauses = [np.zeros(int(RATE * rng.uniform(0.3, 1.2))) for _ in range(2)]
        whole = np.concatenate([np.zeros(64), pauses[0], said, pauses[1]])
        whole += 0.003 * rng.standard_normal(len(whole))
        starts = range(0, len(whole) - 576, 512)
        made.append({"input": np.stack([whole[s : s + 576] for s in starts]).astype(np.float32), "sr": np.array(RATE)})
    return made


def photos(rng: np.random.Generator, work: Path) -> Arrays:
    """A portrait at many sizes and places before other photos, 320 by 320."""
    from PIL import Image

    found = importlib.util.find_spec("skimage")
    assert found is not None, "pip install scikit-image"
    assert found.origin is not None
    shipped = Path(found.origin).parent / "data"
    portrait = Image.open(shipped / "astronaut.png").convert("RGB").crop((120, 0, 340, 260))
    behind = [Image.open(shipped / name).convert("RGB") for name in ("coffee.png", "chelsea.png", "rocket.jpg")]
    made = []
    for number in range(96):
        scene = behind[number % 3].resize((480, 400)).crop((o := int(rng.integers(0, 80)), o, o + 320, o + 320))
        for _ in range(int(rng.integers(1, 3))):
            height = int(rng.integers(90, 260))
            person = portrait.resize((height * 220 // 260, height))
            if rng.random() < 0.5:
                person = person.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            scene.paste(person, tuple(int(v) for v in rng.integers(0, 320 - height + 1, 2)))
        pixels = np.asarray(scene, np.float32)[None].transpose(0, 3, 1, 2) / 255 * rng.uniform(0.7, 1.0)
        made.append({"images": pixels.astype(np.float32)})
    return made


def text(rng: np.random.Generator, work: Path) -> Arrays:
    """Lines of words on tinted paper, 320 by 320."""
    from PIL import Image, ImageDraw, ImageFont

    words = " ".join(SENTENCES).split()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    made = []
    for _ in range(64):
        page = Image.new("RGB", (320, 320), tuple(int(v) for v in rng.integers(170, 256, 3)))
        draw, top = ImageDraw.Draw(page), int(rng.integers(5, 60))
        while top < 280:
            size = int(rng.integers(12, 34))
            line = " ".join(rng.choice(words, int(rng.integers(1, 5))))
            ink = tuple(int(v) for v in rng.integers(0, 110, 3))
            draw.text((int(rng.integers(5, 90)), top), line, ink, ImageFont.load_default(size))
            top += int(size * rng.uniform(1.3, 3.0))
        pixels = (np.asarray(page) / 255 - mean) / std
        made.append({"x": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    return made


def melody(rng: np.random.Generator, work: Path) -> Arrays:
    """Two seconds of notes with overtones and an envelope, one or two voices, at 22 050 Hz."""
    rate, length = 22_050, 43_844
    made = []
    for _ in range(64):
        wave = 0.002 * rng.standard_normal(length)
        for _voice in range(int(rng.integers(1, 3))):
            start = int(rng.integers(0, rate // 4))
            while start < length - 2000:
                count = min(int(rate * rng.uniform(0.15, 0.6)), length - start)
                time = np.arange(count) / rate
                pitch = 440 * 2 ** (int(rng.integers(-21, 15)) / 12)
                tone = sum(np.sin(2 * np.pi * pitch * k * time) / k**1.5 for k in range(1, 7))
                wave[start : start + count] += 0.2 * tone * np.exp(-3 * time) * np.minimum(1, time * 200)
                start += count
        made.append({"serving_default_input_2:0": wave[None, :, None].astype(np.float32)})
    return made


@dataclass(frozen=True)
class Kind:
    """A model, its inputs, and what it is judged by."""

    model: str
    make: Callable[[np.random.Generator, Path], Arrays]
    judged: tuple[str, ...]


KINDS = {
    "speech": Kind("silero_vad_16k_op15", speech, ("--state", "stateN=state", "--metric", "f1", "--output", "output")),
    "photos": Kind("nudenet_320n_yolov8", photos, ("--metric", "ap")),
    "text": Kind("ppocrv5_det", text, ("--metric", "miou")),
    "melody": Kind("basic_pitch_nmp", melody, ("--metric", "f1", "--output", "StatefulPartitionedCall:1")),
}


def prepare(kind: Kind, work: Path) -> list[Path]:
    """Two folders with a file a sample: what is fitted on, and what is judged on."""
    samples = kind.make(np.random.default_rng(0), work)
    folders = [work / "fit", work / "confirm"]
    for folder, part in zip(folders, (samples[: len(samples) * 2 // 3], samples[len(samples) * 2 // 3 :]), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        for number, arrays in enumerate(part):
            np.savez(folder / f"{number:03d}.npz", **arrays)
    return folders


def run(name: str, kind: Kind, zoo: Path, work: Path, options: list[str]) -> None:
    """Compress, judge, and print one row of the table."""
    work.mkdir(parents=True, exist_ok=True)
    fit, confirm = prepare(kind, work)
    model, out = zoo / f"{kind.model}.onnx", work / "slim.onnx"
    command = [sys.executable, "-m", "onnxslim_cli", "optimize", str(model), "-o", str(out), "--force", "--json"]
    command += ["--data", str(fit), "--eval-data", str(confirm), *kind.judged, *options]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout)
    (work / "result.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    if found["error"] is not None:
        print(f"| {name} | {kind.model} | {found['error']['message']} |", flush=True)
        return
    metric, latency = found["metrics"][0], found["latency"]
    low, high = metric["interval"]
    ratio = "{:.2f}× [{:.2f}, {:.2f}]".format(latency["ratio"], *latency["interval"])
    before, after = (found[side]["bytes"] for side in ("input", "output"))
    drop = f"{100 * metric['drop']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    print(
        f"| {name} | {kind.model} | {metric['name']} {100 * metric['result']:.2f} % | {drop} | {ratio} "
        f"| {before / after:.2f}× | {found.get('chosen', 'as told')} | {metric['n']} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    parser.add_argument("--work", type=Path, default=Path("kinds"))
    parser.add_argument("--recipe", help="run exactly this, e.g. int8, instead of searching")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--max-drop", default="3%")
    given = parser.parse_args()
    print("| kind | model | metric | drop in points | faster | smaller | recipe | samples |", "|---" * 8 + "|", sep="\n")
    options = ["--max-drop", given.max_drop, *(["--recipe", given.recipe] if given.recipe else ["--budget", given.budget])]
    for name in given.kinds or KINDS:
        run(name, KINDS[name], given.zoo, given.work / name, options)


if __name__ == "__main__":
    main()
