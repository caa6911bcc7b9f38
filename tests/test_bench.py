"The benchmark runs, and the page on speed shows what it measured; how fast anything is, is not looked at"
import json, subprocess, sys
from pathlib import Path

import pytest

root = Path(__file__).parents[1]
sys.path.append(str(root/'bench'))

def test_rows_run(tmp_path):
    cheap = 'call,second_chat,tools,waiting'
    run = subprocess.run([sys.executable, root/'bench', '--quick', '--rows', cheap, '--out', tmp_path/'r.json'], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    res = json.loads((tmp_path/'r.json').read_text())
    assert [*res['rows']] == cheap.split(',') and {'date', 'machine', 'versions'} <= res.keys()
    for r in res['rows'].values():
        assert r['libraries'][r['beside']]['ratio'] == pytest.approx(1) and r['libraries']['llmchat']['median'] > 0

def test_the_page_shows_every_row():
    from rows import rows
    res = json.loads((root/'bench/results.json').read_text())
    assert [*res['rows']] == [*rows] and [r['what'] for r in res['rows'].values()] == [r.what for r in rows.values()]
    assert {k: r['wanted'] for k, r in res['rows'].items()} == {k: r.wanted for k, r in rows.items()}
    shown = (root/'nbs/speed.ipynb').read_text()
    assert not [r.what for r in rows.values() if json.dumps(f'| {r.what} |')[1:-1] not in shown]
