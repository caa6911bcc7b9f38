"Pictures as people have them: PIL images of every mode, turned photos, figures, arrays; and those that are too large"
import base64, io
from contextlib import nullcontext

import anthropic, numpy as np, pytest
from matplotlib.figure import Figure
from PIL import Image

from common import MODEL, both
from llmchat import Sandbox, mk_funcres, mk_msg
from llmchat.protocol.messages import mk_block
from llmchat.protocol.limits import max_image
from llmchat.sandbox.server import tool_use

def sent(o):
    "The picture that is sent, and its media type"
    source = mk_block(o)['source']
    return Image.open(io.BytesIO(base64.b64decode(source['data']))), source['media_type']

def pixels(o): return np.asarray(sent(o)[0].convert('RGBA')).astype(int)

def data(im, kind, **kw):
    im.save(buf := io.BytesIO(), format=kind, **kw)
    return buf.getvalue()

RAMP = np.linspace(0, 1, 16).reshape(4, 4)

@pytest.mark.parametrize('values', [RAMP * 255, RAMP * 4000 + 300, RAMP * 65535, RAMP * 2e9 - 1e9, RAMP, RAMP * 6e-3 - 3e-3])
@pytest.mark.parametrize('mode', ['I', 'F'])
def test_numbers_are_shades_of_grey(mode, values):
    "From dark to light, whatever their range is; they were white, or black, where they were no bytes"
    if mode == 'I' and values.max() <= 1: pytest.skip('no whole numbers')
    grey = pixels(Image.fromarray(values.astype('int32' if mode == 'I' else 'float32')))[:, :, 0].ravel()
    assert abs(grey - RAMP.ravel() * 255).max() <= 1

@pytest.mark.parametrize('values,grey', [([[7, 7]], 7), ([[0, 0]], 0), ([[70000, 70000]], 0), ([[-3, -3]], 0)])
def test_a_picture_of_one_number(values, grey):
    for kind in 'int32', 'float32': assert set(pixels(Image.fromarray(np.array(values, kind)))[:, :, 0].ravel()) <= {grey, 255}

@pytest.mark.parametrize('odd', [float('nan'), float('inf'), -float('inf')])
def test_what_is_no_number_does_no_harm(odd): assert sent(Image.fromarray(np.array([[odd, .5], [0, 1]], 'float32')))[0].size == (2, 2)

@pytest.mark.parametrize('mode', ['La', 'PA', 'LA', 'RGBa', 'RGBA'])
def test_transparency_stays(mode):
    im = Image.new('LA', (2, 1), (200, 255))
    im.putpixel((0, 0), (200, 0))
    im = {'La': lambda: im.convert('La'), 'PA': lambda: im.convert('RGBA').convert('PA'), 'LA': lambda: im,
        'RGBa': lambda: im.convert('RGBA').convert('RGBa'), 'RGBA': lambda: im.convert('RGBA')}[mode]()
    assert im.mode == mode and pixels(im)[0, :, 3].tolist() == [0, 255] and abs(pixels(im)[0, 1, :3] - 200).max() <= 2

@pytest.mark.parametrize('turn', range(1, 9))
def test_photos_are_turned_as_their_camera_noted(turn):
    im = Image.new('RGB', (64, 32), 'white')
    im.paste('black', (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = turn
    photo = Image.open(io.BytesIO(data(im, 'JPEG', exif=exif, quality=95)))
    shown, _ = sent(photo)
    assert shown.size == ((64, 32) if turn < 5 else (32, 64)) and not shown.getexif().get(0x0112)
    w, h = shown.size
    right, low = turn in (2, 3, 6, 7), turn in (3, 4, 7, 8)
    assert shown.convert('L').getpixel((w - 8 if right else 8, h - 8 if low else 8)) < 50
    assert mk_block(data(im, 'JPEG', exif=exif))['source']['data'] == base64.b64encode(data(im, 'JPEG', exif=exif)).decode()

noise = np.random.default_rng(1).integers(0, 256, (1500, 1500, 4), 'uint8')

@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'CMYK'])
def test_a_photo_too_large_as_png_goes_as_jpeg(mode):
    im = Image.fromarray(noise).convert(mode)
    assert len(base64.b64encode(data(im.convert('RGB'), 'PNG'))) > max_image
    shown, kind = sent(im)
    assert kind == 'image/jpeg' and shown.size == im.size and len(mk_block(im)['source']['data']) <= max_image
    with pytest.raises(ValueError, match='too large for an image'): mk_block(data(im.convert('RGB'), 'PNG'))

def test_what_is_transparent_becomes_white_in_a_jpeg():
    clear = noise.copy()
    clear[:700, :, 3] = 0
    assert pixels(Image.fromarray(clear))[:600, :, :3].min() > 250

def test_a_large_picture_of_16_bits_goes_as_jpeg():
    values = np.random.default_rng(1).integers(0, 65536, (1600, 1600), 'uint16')
    shown, kind = sent(Image.fromarray(values))
    assert kind == 'image/jpeg' and 60 < np.asarray(shown).mean() < 200

def figure():
    fig = Figure(figsize=(2, 1))
    fig.subplots().plot([1, 2])
    return fig

SEEN = {'figure': figure, 'colours': lambda: np.zeros((3, 4, 3), 'uint8'), 'with alpha': lambda: np.full((3, 4, 4), 9, 'uint8'),
    'grey': lambda: np.eye(4, dtype='uint8'), 'one channel': lambda: np.zeros((3, 4, 1), 'uint8'), 'image': lambda: Image.new('F', (3, 2), .5),
    'fractions': lambda: np.full((3, 4, 3), .5, 'float32'), 'a part of one': lambda: np.zeros((9, 9, 3), 'uint8')[::2, ::-1]}

@both
@pytest.mark.parametrize('name', SEEN)
def test_pictures_work_in_prompts_as_in_results(way, name):
    def give(): return SEEN[name]()
    res = mk_funcres(tool_use('give') | dict(id='t'), [give])['content']
    assert [b['type'] for b in res] == ['image']
    if name == 'figure': assert mk_msg(['Look:', give()])['content'][1]['type'] == 'image'
    else: assert mk_msg(['Look:', give()])['content'][1] == mk_msg(give())['content'][0] == res[0]
    chat = way.Chat(MODEL, way.sdk(Sandbox(['I see.'])))
    way.call(chat, [give(), 'What is this?'])
    assert chat.h[0]['content'][0]['type'] == 'image'

@pytest.mark.parametrize('o', [np.arange(3), np.zeros((2, 2)), np.full((2, 2, 3), 7.), np.zeros((0, 4, 3), 'uint8'), np.zeros((2, 2, 5), 'uint8')],
    ids=['row', 'numbers', 'beyond 1', 'empty', 'channels'])
def test_arrays_that_are_no_pictures_are_data(o):
    with pytest.raises(TypeError, match='(?s)is a ndarray.*arrays of pixels'): mk_msg(['Look:', o])
    def give(): return o
    assert isinstance(mk_funcres(tool_use('give') | dict(id='t'), [give])['content'], str)

# ---- too many pixels

def plain(*size): return data(Image.new('L', size), 'PNG')

@both
@pytest.mark.parametrize('size', [(8001, 1), (1, 8001)])
@pytest.mark.parametrize('kind', [bytes, 'image', 'block'])
def test_more_than_8000_pixels_are_an_error_before_sending(way, size, kind):
    block = dict(type='image', source=dict(type='base64', media_type='image/png', data=base64.b64encode(plain(*size)).decode()))
    o = plain(*size) if kind is bytes else Image.new('L', size) if kind == 'image' else block
    chat = way.Chat(MODEL, way.sdk(sb := Sandbox(['Fine.'])))
    with pytest.raises(ValueError, match='pixels.*8,000'): way.call(chat, [o, 'Hi'])
    assert chat.h == [] and not [r for r in sb.requests if r.path == '/v1/messages']
    way.call(chat, [plain(8000, 1), 'Hi'])

@both
def test_more_than_2000_pixels_with_many_pictures(way):
    "Also where they come one by one, and in a tool's result, which then says so"
    def look(): return plain(2001, 1)
    script = ['I see.', 'I see.', 'I see.', [tool_use('look')], 'Too large.']
    chat = way.Chat(MODEL, way.sdk(sb := Sandbox(script)), tools=[look])
    way.call(chat, [*[plain(2, 2)] * 19, plain(2001, 1)])
    with pytest.raises(ValueError, match='2,001 x 1 pixels; 2,000 .* more than 20 pictures'): way.call(chat, plain(1, 1))
    assert len(chat.h) == 2
    way.call(chat, 'No more.')
    chat.undo(), chat.undo()
    way.call(chat, [plain(2000, 2)] * 21)
    way.call(chat, 'Look')
    res, = chat.h[-1]['content']
    assert res['is_error'] and '2,001 x 1 pixels' in str(res['content'])

@pytest.mark.parametrize('n,size,said', [(1, 8001, 'max allowed size: 8000 pixels'), (21, 2001, 'for many-image requests: 2000 pixels'),
    (20, 2001, None), (1, 8000, None)])
def test_the_sandbox_refuses_what_the_api_does(n, size, said):
    image = dict(type='image', source=dict(type='base64', media_type='image/png', data=base64.b64encode(plain(size, 1)).decode()))
    ask = dict(model=MODEL, max_tokens=9, messages=[dict(role='user', content=[image] * n)])
    cli = Sandbox(['Fine.']).client()
    with pytest.raises(anthropic.BadRequestError, match=said) if said else nullcontext(): cli.messages.create(**ask)
