// Code with its parts in colours: comments, strings, numbers, keywords. One pass, by signs that most languages share.

const LONGEST = 30000; // characters; longer code stays plain
const HASH = new Set("py python sh bash zsh shell console yaml yml toml ini r rb ruby perl pl make makefile dockerfile elixir nix conf".split(" "));
const DASH = new Set("sql lua haskell hs ada elm".split(" "));
const PLAIN = new Set("text txt plain plaintext output markdown md csv log".split(" "));
const WORDS = new Set(
  ("abstract and as assert async await break case catch class const continue def default defer del do elif else end enum except export " +
    "extends extern false finally fn for foreach from func function global go goto if impl implements import in instanceof interface is " +
    "lambda let local loop match mod module mut namespace new nil none nonlocal not null of or package pass private protected pub public " +
    "raise readonly ref return select self static struct super switch then this throw throws trait true try type typeof undefined union " +
    "unless until use using var void where while with yield create table insert into values update delete set join left right inner " +
    "outer on group by order having limit distinct int float double bool boolean char string str long short unsigned byte echo fi done esac")
    .split(" "),
);
const SIGNS = {
  hash: "#[^\\n]*",
  dash: "--[^\\n]*",
  slash: "\\/\\/[^\\n]*|\\/\\*[^]*?(?:\\*\\/|$)",
  markup: "<!--[^]*?(?:-->|$)",
};
const REST =
  '|(?<text>"""[^]*?(?:"""|$)|\'\'\'[^]*?(?:\'\'\'|$)|"(?:\\\\.|[^"\\\\\\n])*"?|\'(?:\\\\.|[^\'\\\\\\n])*\'?|`(?:\\\\.|[^`\\\\])*`?)' +
  "|(?<digits>\\b\\d[\\w.]*)|(?<call>[A-Za-z_$][\\w$]*(?=\\())|(?<word>[A-Za-z_$][\\w$]*)";

function comments(language) {
  if (HASH.has(language)) return SIGNS.hash;
  if (DASH.has(language)) return SIGNS.dash + "|" + SIGNS.slash;
  if (["html", "xml", "svg"].includes(language)) return SIGNS.markup;
  if (["", "c", "h"].includes(language)) return SIGNS.slash;
  return language === "php" ? SIGNS.slash + "|" + SIGNS.hash : SIGNS.slash;
}

/** The nodes of some code in a language that was named, or in none. */
export function highlighted(code, name) {
  const language = name.toLowerCase();
  if (code.length > LONGEST || PLAIN.has(language)) return [code];
  const pattern = new RegExp(`(?<note>${comments(language)})${REST}`, "g");
  const nodes = [];
  let at = 0;
  for (const found of code.matchAll(pattern)) {
    const { note, text, digits, call, word } = found.groups;
    const known = (one) => WORDS.has(one) || (DASH.has(language) && WORDS.has(one.toLowerCase())) || ["True", "False", "None"].includes(one);
    const kind = note ? "note" : text ? "text" : digits ? "digits" : known(call ?? word) ? "word" : call ? "call" : "";
    if (!kind) continue;
    if (found.index > at) nodes.push(code.slice(at, found.index));
    const part = document.createElement("span");
    part.className = "code-" + kind;
    part.textContent = found[0];
    nodes.push(part);
    at = found.index + found[0].length;
  }
  nodes.push(code.slice(at));
  return nodes;
}
