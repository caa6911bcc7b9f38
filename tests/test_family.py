"A script of the family of wrappers that this library is modelled after runs with its import changed"
import runpy
from pathlib import Path

import pytest
from common import PNG

from llmchat import Sandbox
from llmchat.sandbox.server import mk_model, tool_use

A, B = 604542, 6458932
WASHINGTON = tool_use('President', first='George', last='Washington', years=['1789-1797'])

def answer(body):
    "What the model says to the last message"
    last = body['messages'][-1]['content']
    text = last if isinstance(last, str) else ' '.join(str(b.get('text') or b.get('content') or '') for b in last)
    asked = any(b.get('type') == 'tool_result' for b in last) if isinstance(last, list) else False
    names = {t['name'] for t in body.get('tools', ())}
    if 'President' in names: return WASHINGTON
    if asked and 'Processing' in text: return tool_use('cancel_order', order_id='O2')
    if asked: return f'Done: {text}'
    if 'cancel order' in text: return tool_use('get_order', order_id='O2')
    if f'{A}+{B}' in text and 'sums' in names: return tool_use('sums', a=A, b=B)
    if text == 'What is 2+3?': return tool_use('sums', a=2, b=3)
    if text == 'Sum.': return tool_use('sums', a=1, b=2)
    for prompt, reply in {"What's my name?": 'Your name is Jeremy.', 'Count to five.': '1, 2, 3, 4, 5', 'Count again.': '1, 2, 3, 4, 5',
        'Count.': '1, 2, 3', "I'm Jeremy": 'Hello!', 'Hi': 'Hi.', 'According': '42.'}.items():
        if text.startswith(prompt): return reply
    return 'Fine.'

@pytest.mark.filterwarnings('ignore:The model .* is deprecated')
def test_a_script_of_the_family(tmp_path, monkeypatch, capsys):
    (tmp_path/'flowers.png').write_bytes(PNG)
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-ant-12345678')
    from llmchat import models
    sb = Sandbox(answer, models=[mk_model(m, prefill='4-5' in m) for m in models])
    with sb.patch(): runpy.run_path(str(Path(__file__).with_name('family.py')), dict(picture=str(tmp_path/'flowers.png')))
    assert len(sb.requests) > 30
