"Draw nbs/design.svg from nbs/design.txt: bands of boxes from top to bottom, with an arrow from band to band."
from html import escape
from pathlib import Path

width, box, gap, pad, head, arrow = 400, 46, 8, 10, 26, 22

style = '''.drawing text { font-family: system-ui, "DejaVu Sans", sans-serif; fill: var(--ink, #24292f) }
.drawing .name { font-size: 15px; font-weight: 600 }
.drawing .what { font-size: 13px; fill: var(--quiet, #5b636d) }
.drawing .band { font-size: 12px; font-weight: 600; fill: var(--accent, #9a3e14) }
.drawing rect { fill: var(--paper, #fff); stroke: var(--line, #dcdfe4) }
.drawing .area { fill: var(--tint, #f6f5f2) }
.drawing path { fill: none; stroke: var(--quiet, #5b636d); stroke-width: 1.5 }'''

def bands(
    text:str, # Lines of design.txt
)->list: # Pairs of what a band is and its boxes, pairs of name and what it is
    "What is to be drawn."
    res = []
    for line in (l.strip() for l in text.splitlines()):
        if line.startswith('=='): res.append((line.strip('= '), []))
        elif line and not line.startswith('#'): res[-1][1].append([s.strip() for s in line.split('|')])
    return res

def rect(x, y, w, h, cls): return f'<rect class="{cls}" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>'
def words(x, y, cls, text): return f'<text class="{cls}" x="{x}" y="{y}">{escape(text)}</text>'

def band(
    what:str, # What its boxes have in common
    boxes:list, # Pairs of name and what it is
    y:int, # Where it begins, in units of the drawing
)->tuple[list,int]: # Elements, and where it ends
    height = head + len(boxes)*(box + gap) + pad - gap
    res = [rect(1, y, width - 2, height, 'area'), words(pad + 1, y + 17, 'band', what)]
    for i,(name,text) in enumerate(boxes):
        top = y + head + i*(box + gap)
        res += [rect(pad, top, width - 2*pad, box, 'box'), words(2*pad, top + 19, 'name', name), words(2*pad, top + 37, 'what', text)]
    return res, y + height

def arrow_to(y):
    "An arrow that ends at `y`"
    x = width//2
    return f'<path d="M{x} {y - arrow + 4}V{y - 3}m-5 -5l5 5l5 -5"/>'

def drawing(
    text:str, # Lines of design.txt
)->str: # An SVG
    "The whole picture."
    parts, y = [], 1
    for i,(what,boxes) in enumerate(bands(text)):
        if i: y += arrow; parts.append(arrow_to(y))
        more, y = band(what, boxes, y)
        parts += more
    attrs = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 1}" role="img" class="drawing"'
    return '\n'.join([f'<svg {attrs}>', f'<style>{style}</style>', *parts, '</svg>']) + '\n'

if __name__=='__main__':
    nbs = Path(__file__).resolve().parent.parent/'nbs'
    (nbs/'design.svg').write_text(drawing((nbs/'design.txt').read_text(encoding='utf-8')), encoding='utf-8')
