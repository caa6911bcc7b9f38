"""What a call costs, beside the SDK and beside other libraries: `python bench [--rows call,deltas] [--quick]`

CPU seconds of one process on an API in memory, medians of samples that the libraries take in turns, so that what else
the machine does falls on all alike. A run of all rows is written to bench/results.json, which the page shows."""
import gc, json, os, platform, sys
from argparse import ArgumentParser
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from inspect import isgeneratorfunction
from pathlib import Path
from statistics import median, quantiles
from time import process_time

from peers import peers
from rows import rows

packages = ['llmchat', 'anthropic', 'httpx2', 'pydantic', 'orjson', 'aiohttp', 'chatlas', 'langchain-anthropic',
    'pydantic-ai-slim']

def timed(fs, n, reps):
    """CPU seconds of each function, `n` samples of `reps` calls; a function that returns a number has measured itself.
    A short sample comes after a call that does not count, since it finds the caches of the processor full of what
    another library did; a long one after a garbage collection, which would else fall into some samples alone."""
    res, own, short = {k: [] for k in fs}, {}, {}
    for k, f in fs.items():
        began = process_time()
        own[k], short[k] = isinstance(f(), float), process_time() - began < .05
    for _ in range(n):
        for k, f in fs.items():
            if not own[k]: f() if short[k] else gc.collect()
            last = None # What another one has made is freed before, and not within this sample
            began = process_time()
            for _ in range(reps): last = f()
            res[k].append(last if own[k] else (process_time() - began) / reps)
    return res

def measured(row, quick):
    "The result of a row, as plain data"
    n, make = (2 if quick else row.n), contextmanager(row.make) if isgeneratorfunction(row.make) else None
    if make:
        with make() as fs: samples = timed(fs, n, row.reps)
    else: samples = timed(fs, n, row.reps) if row.unit == 's' and (fs := row.make()) else row.make()
    spread = lambda xs: quantiles(xs, n=4) if len(xs) > 2 else [min(xs), median(xs), max(xs)]
    base = median(samples[row.beside])
    got = {k: dict(zip(('low', 'median', 'high'), spread(xs)), ratio=median(xs) / base) for k, xs in samples.items()}
    return dict(what=row.what, wanted=row.wanted, unit=row.unit, beside=row.beside, samples=n, libraries=got)

def shown(r):
    "A row of results as text"
    scale, unit = (1e3, 'ms') if r['unit'].startswith('s') else (1, r['unit'])
    parts = [f"{k} {g['median'] * scale:.4g} {unit} ({g['ratio']:.3g})" for k, g in r['libraries'].items()]
    wanted = f" [wanted {r['wanted']}]" if r['wanted'] else ''
    return f"{r['what']}{wanted}: {', '.join(parts)}"

def installed(name):
    try: return version(name)
    except PackageNotFoundError: return None

def main():
    args = ArgumentParser(prog='python bench')
    args.add_argument('--rows', help='names of rows, with commas; all without it')
    args.add_argument('--quick', action='store_true', help='two samples of each: does it run?')
    args.add_argument('--out', help='where the results go; without it those of all rows go to bench/results.json')
    a = args.parse_args()
    if not peers: print("no other library is installed here: pip install -e '.[peers]' brings them", file=sys.stderr)
    python = f'{platform.python_implementation()} {platform.python_version()}'
    res = dict(date=date.today().isoformat(), machine=f'{python}, {platform.system()}, {os.cpu_count()} processors',
        versions={k: v for k in packages if (v := installed(k))}, rows={})
    for name in a.rows.split(',') if a.rows else rows:
        res['rows'][name] = measured(rows[name], a.quick)
        print(shown(res['rows'][name]), flush=True)
    out = a.out or (None if a.rows or a.quick else Path(__file__).parent/'results.json')
    if out: Path(out).write_text(json.dumps(res, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
