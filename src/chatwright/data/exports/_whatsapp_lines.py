"""What WhatsApp itself writes into a chat, in English, German, Spanish, French, Italian and Portuguese.

Android writes its notes without a sender. iPhones write them under somebody's name, with a left-to-right mark before
the first word; that mark alone tells them apart, in every language. The phrases are for what has neither.
"""

import re
from collections.abc import Iterator

from chatwright.data.exports._found import DELETED, MEDIA, NOTE

LEFT_TO_RIGHT = "\u200e"

_MARK = rf"[\s{LEFT_TO_RIGHT}]*"
_THINGS = (
    # what is left out when a chat is exported without its files
    "media|medien|mediendatei|multimedia|m[ée]dias|mídia|archivo(?: multimedia)?|fichier(?: multimédia)?|"
    "arquivo de mídia|ficheiro|image|imagen|immagine|imagem|bild|foto|photo|video|vídeo|vidéo|audio|áudio|gif|"
    "stickers?|figurinha|autocollant|adesivo|document|documento|dokument|contact card|kontaktkarte|"
    "tarjeta de contacto|(?:carte|fiche)(?: de)? contact|scheda contatto|biglietto da visita|"
    "cartão d[eo] contato|video note|video message|voice message|videonachricht|sprachnachricht"
)
_LEFT_OUT = (
    "omitted|weggelassen|ausgeschlossen|ausgelassen|entfernt|omitid[oa]s?|omis(?:es?)?|absent(?:es?)?|exclue?|retirée?|"
    "omess[oaie]|esclus[oa]|non inclus[oa]|ocultad[oa]|ocult[oa]|não revelad[oa]"
)
_OMITTED = re.compile(rf"{_MARK}<?(?:{_THINGS}) (?:{_LEFT_OUT})>?\.?", re.IGNORECASE)
_OMITTED_AFTER = re.compile(rf"{LEFT_TO_RIGHT}(?:{_THINGS}) (?:{_LEFT_OUT})\.?\s*$", re.IGNORECASE)
_ATTACHED = re.compile(
    rf"{LEFT_TO_RIGHT}?<(?:attached|Anhang|angehängt|adjunto|pièce jointe|joint|allegato|anexado|anexo)\s?:\s[^<>\n]+>",
    re.IGNORECASE,
)
_FILE = re.compile(
    rf"{_MARK}[^\n]+\.\w{{1,5}} \((?:file attached|Datei angehängt|archivo adjunt(?:o|ado)|fichier joint|"
    r"file allegato|(?:arquivo|ficheiro) anexado)\)",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(r"[^\n]+\.\w{1,5}(?: • [^\n]*)?")  # of a document, repeated where a caption would stand
_DELETED = re.compile(
    rf"{_MARK}(?:(?:this message was|you) deleted(?: this message)?(?: by admin[^\n]*)?|"
    "diese nachricht wurde gelöscht|diese nachricht wurde von [^\n]+ gelöscht|du hast diese nachricht gelöscht|"
    "se eliminó este mensaje|este mensaje fue eliminado|mensaje eliminado|eliminaste este mensaje|"
    "ce message a été supprimé|vous avez supprimé ce message|"
    "questo messaggio è stato eliminato|hai eliminato questo messaggio|"
    "mensagem apagada|esta mensagem foi apagada|(?:você )?apagou esta mensagem|você apagou essa mensagem)[.!]?",
    re.IGNORECASE,
)
_NOTES = re.compile(
    rf"{_MARK}(?:messages and calls are end-to-end encrypted|messages to this (?:chat|group) (?:and calls )?are now secured|"
    "messages you send to this (?:chat|group)|nachrichten und anrufe sind ende-zu-ende|"
    "nachrichten[^\n]{0,80} mit ende-zu-ende-verschlüsselung|"
    "(?:los mensajes y las llamadas|las llamadas y los mensajes|los mensajes)[^\n]{0,60} extremo a extremo|"
    "les messages et les appels sont (?:chiffrés|protégés)|les messages[^\n]{0,80} de bout en bout|"
    "i messaggi e le chiamate sono crittografati|i messaggi[^\n]{0,80} crittografia end-to-end|"
    "as mensagens e (?:as )?(?:chamadas|ligações)[^\n]{0,40} (?:criptografia|encripta)|"
    "waiting for this message|warten auf diese nachricht|esperando el mensaje|en attente de ce message|"
    "in attesa del messaggio|aguardando mensagem)",
    re.IGNORECASE,
)
_CALLS = re.compile(
    rf"{_MARK}(?:missed (?:group )?(?:voice|video) call|verpasster (?:gruppen)?(?:sprach|video)?anruf|"
    "llamada (?:de voz |grupal )?perdida|videollamada perdida|appel (?:vocal|vidéo) manqué|"
    "(?:chiamata (?:vocale )?|videochiamata )persa|"
    "(?:chamada|ligação) de (?:voz|vídeo) perdida)(?:[.,][^\n]*)?",
    re.IGNORECASE,
)
_PLACES = re.compile(
    rf"{_MARK}(?:(?:location|standort|ubicación|localisation|posizione|localização) ?: ?https?://\S+|"
    "live location shared|live-standort wird geteilt|ubicación en (?:vivo|tiempo real)[^\n]*|"
    "(?:poll|umfrage|encuesta|sondage|sondaggio|enquete) ?:\n.*)",
    re.IGNORECASE | re.DOTALL,
)
_EDITED = re.compile(
    rf"{LEFT_TO_RIGHT}?<(?:this message was edited|diese nachricht wurde bearbeitet|se editó este mensaje|"
    "este mensaje fue editado|ce message a été modifié|questo messaggio è stato modificato|mensagem editada|"
    r"esta mensagem foi editada)\.?>\s*$",
    re.IGNORECASE,
)
# Who did something, and to whom, in a note without a sender.
_DOINGS = re.compile(
    r"(?P<who>[^\n:]{1,60}?) (?:"
    r"(?:added|removed) (?P<en>[^\n]+)|(?:left|joined|created|changed|turned|pinned|deleted|was added|was removed|is now)\b|"
    r"hat (?P<de>[^\n]+) (?:hinzugefügt|entfernt)|(?:hat die Gruppe|hat den Betreff|hat das Gruppenbild|ist der Gruppe)\b|"
    r"(?:añadió|agregó|eliminó) a (?P<es>[^\n]+)|(?:salió|creó|cambió|se unió|se fue|abandonó)\b|"
    r"a (?:ajouté|retiré) (?P<fr>[^\n]+)|(?:a créé|a changé|a modifié|a quitté|est partie?|a rejoint)\b|"
    r"ha (?:aggiunto|rimosso) (?P<it>[^\n]+)|(?:ha creato|ha cambiato|ha modificato|ha abbandonato|è uscit[oa]|si è unit[oa])\b|"
    r"(?:adicionou|removeu) (?P<pt>[^\n]+)|(?:saiu|criou|mudou|alterou|entrou)\b)"
)
_AND = re.compile(r", | (?:and|und|y|et|e) ")
_NOBODY = re.compile(
    "you|your|you've|du|sie|dich|dein|deine|tú|te|usted|vous|votre|tu|ti|voi|você|a|al|o|os|los|las|les|le|un|une|this|die|der|das"
)
_MARKS = LEFT_TO_RIGHT + " \n"


def reason_unused(text: str) -> str:
    """Why a message with these words is none that a person wrote, or nothing."""
    for pattern, reason in ((_DELETED, DELETED), (_CALLS, NOTE), (_PLACES, MEDIA), (_OMITTED, MEDIA)):
        if pattern.fullmatch(text):
            return reason
    if _NOTES.match(text):
        return NOTE
    words = without_marks(text)
    if words != text and (not words.strip(_MARKS) or _FILE_NAME.fullmatch(words.strip(_MARKS))):
        return MEDIA
    if text.strip(_MARKS) == "null":  # a picture that could be seen once, on Android
        return MEDIA
    return NOTE if words.startswith(LEFT_TO_RIGHT) else ""


def without_marks(text: str) -> str:
    """The words without "<attached: ...>" and the like around a caption, and without "<This message was edited>"."""
    text = _EDITED.sub("", text)
    text = _OMITTED_AFTER.sub("", _ATTACHED.sub("", text))
    first, _, rest = text.partition("\n")
    return rest if _FILE.fullmatch(first) or (rest and _OMITTED.fullmatch(first)) else text


def people(note: str) -> Iterator[str]:
    """The names in a note: `Ana added Ben and Cleo` -> Ana, Ben, Cleo."""
    found = _DOINGS.match(note.replace(LEFT_TO_RIGHT, ""))
    if not found:
        return
    objects = next(filter(None, (found[each] for each in ("en", "de", "es", "fr", "it", "pt"))), "")
    for name in (found["who"], *_AND.split(objects.rstrip("."))):
        if name.strip() and not _NOBODY.fullmatch(name.split()[0].lower()) and not re.search("[\"„“”«»']", name):
            yield name
