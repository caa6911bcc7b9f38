"Reported faults of what is kept on disk, each with its siblings: files from strangers, full disks, readers beside a writer"
import errno, json, os, stat

import pytest
from common import MODEL, PNG
from llmchat import Batch, Chat, Sandbox
from llmchat.jobs import Job

def mode(path): return stat.S_IMODE(path.stat().st_mode)

# ---- looking never writes

def job_file(tmp_path):
    path, sb = tmp_path/'job', Sandbox(lambda body: 'yes')
    Batch(MODEL, ['a', 'b', 'c'], path, cli=sb.client(), sleep=sb.sleep).run()
    return path

def test_looking_at_a_job_that_is_being_written_changes_nothing(tmp_path):
    "Every length of the file, as a writer might have got it"
    path = job_file(tmp_path)
    whole = path.read_bytes()
    for n in range(whole.index(b'{"ready"'), len(whole), 7):
        path.write_bytes(whole[:n])
        try: assert sum(Batch.load(path, cli=Sandbox([]).client()).counts.values()) == 3
        except ValueError as e: assert 'holds none' in str(e)
        assert path.read_bytes() == whole[:n]

def test_a_line_that_ends_after_it_was_looked_at_is_read_then(tmp_path):
    path = job_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    job = Job(path)
    with open(path, 'ab') as f: f.write(whole[-9:])
    with job.locked(): assert job.counts['succeeded'] == 3
    assert path.read_bytes() == whole

def test_half_a_line_is_taken_off_by_the_next_one_to_write(tmp_path):
    path = job_file(tmp_path)
    with open(path, 'ab') as f: f.write(b'{"again"')
    b = Batch.load(path, cli=Sandbox([]).client())
    with b.job.locked(): b.job.say(cancel=True)
    assert path.read_bytes().endswith(b'}\n{"cancel":true}\n')

@pytest.mark.parametrize('line', ['[1]', '{"part": 9, "batch": "x"}', '{"again": [[0, 99]]}', '{"of": 5}', '{"ready": 1000000000000000000000}', '[' * 100_000], ids=range(6))
def test_damaged_jobs(tmp_path, line):
    path = job_file(tmp_path)
    with open(path, 'a') as f: f.write(line + '\n')
    with pytest.raises(ValueError, match='damaged at byte'): Batch.load(path)

# ---- pages are written as chats are

WRITERS = dict(save=lambda c, p: c.save(p), html=lambda c, p: c.to_html(p), md=lambda c, p: c.to_md(p))

@pytest.mark.parametrize('how', WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, how):
    chat = Chat(MODEL, Sandbox(['A dot.']).client())
    chat([PNG, 'What is this?'])
    WRITERS[how](chat, path := tmp_path/'a')
    before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    assert {mode(p) for p in before} == {0o600} and len(before) == 1 + (how == 'md')
    assert all(mode(p) == 0o700 for p in tmp_path.rglob('*') if p.is_dir())
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    chat.h[0] = dict(role='user', content='Changed')
    with pytest.raises(OSError, match='No space'): WRITERS[how](chat, path)
    assert {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()} == before

@pytest.mark.parametrize('how', WRITERS)
def test_what_cannot_be_encoded_leaves_the_old_file(tmp_path, how):
    chat = Chat(MODEL, Sandbox([]).client(), hist=['Hi'])
    (tmp_path/'a').write_text('old')
    chat.h[0] = dict(role='user', content='half \ud83d of it')
    with pytest.raises(ValueError): WRITERS[how](chat, tmp_path/'a')
    assert [p.name for p in tmp_path.iterdir()] == ['a'] and (tmp_path/'a').read_text() == 'old'
