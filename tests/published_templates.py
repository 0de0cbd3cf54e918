"""The chat templates in use, written out from the formats that their makers describe. For tests.

Each is a Form: its Jinja text, what its variables stand for, and the special tokens that its vocabulary has.
"""

from dataclasses import dataclass, field

from chatwright.text.jinja_template import JinjaTemplate

ALTERNATE = r"""
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('roles must alternate between user and assistant') -}}
{%- endif -%}
"""
# The system text in front of the first user turn, between `before` and `after`.
FOLDED = r"""
{%- if messages[0]['role'] == 'system' -%}
    {%- set lead = BEFORE + messages[0]['content'] | trim + AFTER -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set lead = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
"""


def folded(before: str, after: str) -> str:
    return FOLDED.replace("BEFORE", repr(before)).replace("AFTER", repr(after))


@dataclass(frozen=True)
class Form:
    """`specials`: in the order of their ids. `strips`: those that take the white space after them along."""

    source: str
    specials: tuple[str, ...]
    tokens: dict[str, str] = field(default_factory=dict)
    system: bool = True
    strips: bool = False

    @property
    def template(self) -> JinjaTemplate:
        return JinjaTemplate(self.source, self.tokens)


IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
IM_TOKENS = {"eos_token": "<|im_end|>"}
CHATML = (
    r"{% for message in messages %}"
    r"{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    r"{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_WITH_GENERATION = r"""
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\n' -}}
    {%- if message.role == 'assistant' -%}
        {% generation %}{{- message.content + '<|im_end|>' -}}{% endgeneration %}
    {%- else -%}
        {{- message.content + '<|im_end|>' -}}
    {%- endif -%}
    {{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""
SMOLLM = r"""{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
QWEN = r"""
{%- if tools %}
    {{- '<|im_start|>system\n# Tools\n\n' }}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
    {{- '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- else %}
    {{- '<|im_start|>system\nYou are Q.<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first)
        or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
LLAMA3 = r"""
{%- for message in messages -%}
    {%- set header = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -%}
    {%- set content = header + message['content'] | trim + '<|eot_id|>' -%}
    {{- (bos_token if loop.index0 == 0 else '') + content -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}
"""
LLAMA32 = r"""{{- bos_token }}
{%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{%- set system_message = messages[0]['content'] | trim if messages[0]['role'] == 'system' else "" %}
{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" + system_message + "<|eot_id|>" }}
{%- for message in turns %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
SENTENCE = ("<unk>", "<s>", "</s>")
SENTENCE_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
MISTRAL = (
    "{{- bos_token -}}{%- for message in messages -%}"
    + ALTERNATE
    + r"""
    {%- if message['role'] == 'user' -%}{{- '[INST] ' + message['content'] + ' [/INST]' -}}
    {%- elif message['role'] == 'assistant' -%}{{- ' ' + message['content'] + eos_token -}}
    {%- else -%}{{- raise_exception('Only user and assistant roles are supported!') -}}
    {%- endif -%}
{%- endfor -%}"""
)
MISTRAL_FOLDED = (
    folded("", "\n\n")
    + "{{- bos_token -}}{%- for message in turns -%}"
    + ALTERNATE
    + r"""
    {%- if message['role'] == 'user' -%}
        {{- '[INST] ' + (lead if loop.first else '') + message['content'] + '[/INST]' -}}
    {%- else -%}{{- ' ' + message['content'] | trim + eos_token -}}
    {%- endif -%}
{%- endfor -%}"""
)
LLAMA2 = (
    folded("<<SYS>>\n", "\n<</SYS>>\n\n")
    + "{%- for message in turns -%}"
    + ALTERNATE
    + r"""
    {%- if message['role'] == 'user' -%}
        {{- bos_token + '[INST] ' + (lead if loop.index0 == 0 else '') + message['content'].strip() + ' [/INST]' -}}
    {%- else -%}{{- ' ' + message['content'].strip() + ' ' + eos_token -}}
    {%- endif -%}
{%- endfor -%}"""
)
GEMMA_TURNS = (
    "{%- for message in turns -%}"
    + ALTERNATE
    + r"""
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{- '<start_of_turn>' + role + '\n' + (lead if loop.first else '') + message['content'] | trim + '<end_of_turn>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}"""
)
GEMMA2 = (
    r"""{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}
{%- set turns = messages -%}{%- set lead = '' -%}"""
    + GEMMA_TURNS
)
GEMMA3 = "{{- bos_token -}}" + folded("", "\n\n") + GEMMA_TURNS
TURNS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>"}
PHI3 = (
    r"{% for message in messages %}{% if message['role'] == 'system' %}"
    r"{{ '<|system|>\n' + message['content'] + '<|end|>\n' }}"
    r"{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}"
    r"{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\n' + message['content'] + '<|end|>\n' }}{% endif %}"
    r"{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI = (*SENTENCE, "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")

FORMS = {
    "chatml": Form(CHATML, IM, IM_TOKENS),
    "chatml with generation": Form(CHATML_WITH_GENERATION, IM, IM_TOKENS),
    "smollm": Form(SMOLLM, IM, IM_TOKENS),
    "qwen": Form(QWEN, IM, IM_TOKENS),
    "llama-3": Form(LLAMA3, HEADERS, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    "llama-3.2": Form(LLAMA32, HEADERS, {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}),
    "zephyr": Form(ZEPHYR, SENTENCE, SENTENCE_TOKENS),
    "mistral": Form(MISTRAL, SENTENCE, SENTENCE_TOKENS, system=False),
    "mistral folded": Form(MISTRAL_FOLDED, (*SENTENCE, "[INST]", "[/INST]"), SENTENCE_TOKENS),
    "llama-2": Form(LLAMA2, SENTENCE, SENTENCE_TOKENS),
    "gemma-2": Form(GEMMA2, TURNS, GEMMA_TOKENS, system=False),
    "gemma-3": Form(GEMMA3, TURNS, GEMMA_TOKENS),
    "phi-3": Form(PHI3, PHI, {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, strips=True),
}
