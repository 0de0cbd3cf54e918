"""Words that are names, and words in names that name nobody: what a list of names may hide, and what it must not.

Both lists err on the side of hiding: a name that stands in neither is hidden wherever it stands alone, in any case.
All words are folded (no capitals, no accents).
"""

# Never hidden by themselves: particles, titles, and what people write into their address book beside a name.
EMPTY = frozenset(
    """
    a an the and or of from at in on for with to by as is are was be am i me my mine you your we us our he him his she her
    it its they them their this that not no yes ok all everyone everybody someone somebody anyone nobody both other others
    der die das dem den des ein eine und oder von vom zu zum zur im am ich du er sie es wir ihr uns mein dein alle
    le la les l de du des d un une et ou au aux je tu il elle nous vous ils moi toi tous el los las lo del y o yo mi tu su
    di da do dos das e il gli della dello dei delle van het een en ik jij wij al ibn bin bint abu
    dr prof mr mrs ms mx miss sir madam maam herr frau mme mlle monsieur madame senor senora sig jr sr phd md mba
    work office home mobile cell phone handy tel telefon private privat business arbeit neu neue new old alt nummer number
    group gruppe groupe grupo team chat channel general admin bot user member guest owner unknown unbekannt deleted account
    support info service contact kontakt anonymous gmbh inc ltd llc corp company system whatsapp telegram signal slack discord
    """.split()  # noqa: SIM905 - a list of so many words is for reading
)

# Of those, first names as well: hidden where they begin a name and are written with one capital, "Al".
GIVEN = frozenset({"al", "di", "su"})

# Names that are ordinary words as well, in use every day: hidden only where they begin with a capital letter, or behind
# an @. A word that is seldom anything but a name ("jack", "heather", "muller") does not belong here.
ORDINARY = frozenset(
    """
    mom mum mama mamma mutti dad daddy papa vati opa oma grandma grandpa granny nana auntie aunt uncle tante onkel brother
    sister bro sis baby boss chef coach doctor teacher landlord neighbour neighbor nachbar cousin wife husband love schatz
    january february march april may june july august september october november december monday tuesday wednesday thursday
    friday saturday sunday januar februar marz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag
    samstag sonntag avril juin juillet abril mayo junio julio agosto domingo sabado summer autumn winter spring herbst sommer
    will mark rose joy hope faith grace dawn eve ivy lily daisy violet iris hazel olive ruby pearl amber jade crystal melody
    harmony frank rich bill rob sue drew grant earl duke king prince baron miles art cliff dale stone wood woods hill lake
    brook river west north east south young long short little small large brown green white black gray grey gold silver baker
    cook hunter butler carpenter turner walker page knight bishop pope price rice banks bell bush field fields fox wolf bear
    bird crane swan lamb fish hood house hall gates park parks church cross day days week weeks snow frost rain storm sky
    star stars sunny moon strong swift sharp wise best better power powers case chance chase clay cash dusty early fry good
    hand hands hardy head hunt land law lord moss nice noble pace patience penny peach piper poppy charity honor honour mercy
    justice royal sage basil rosemary ginger pepper candy honey sugar cherry berry apple angel bliss cat kitty bunny robin
    raven tiger max major buddy junior rusty rocky sandy skip spike stern ward wells worth bud buck chip don herb pat peg dot
    kit merry fern flora gay ace ash bay bean bee blue bond book boot boots bow bowl box boy bright bridge camp car card carry
    cave chain chapel child christian christmas clear clerk close coin cold cool cotton count court craft crow crown dance dear
    dream dust eagle easter even ever evening fair farmer fast fire first flag flower flowers folk forest fort free french
    friend garden gift given glass glory golden goose grand grass grave great ground grow harbor harbour harvest hay heart
    heaven helm hero high holiday horn horse humble ice iron judge just key keys kind kitchen kite lane last late leaf light
    lights lion live lively lock low lucky main man manner many marine market marble mayor mean meek melon merchant mile mills
    mint miracle mist money monk more morning mountain musk nest night noon now oak ocean odd orange orchard order owl pain
    paint palm peace pea peak pen person pike pilot pine pink pitch place plain plant plum point pole pond pool poor post pot
    pound pretty pride priest pro proper purple quick quiet rainbow ram rank read real red rest ride ridge right ring road
    rock roof room root rope rough round row rush salmon salt sand savage say school scout sea seal season see sell senior
    serious shade shadow shell shine ship shore shy silk sin singer sleep slow smart smile soldier song speed spice spirit
    split spoon spark sparks square staff stand steel stock street style sun sweet sword tale talent tall temple tender thing
    thorn thunder time toy trace trade trainer travel treasure tree true trust truth twin valley view vision wall war warm
    water waters way wheat wild wind wing winner winters wish wit wonder word words works world yellow zen
    klein gross grosse lang kurz schwarz weiss braun grun rot jung reich arm gut kalt heiss rein wahl zeit lieb liebe freund
    stark kraft ernst stolz klug fromm sauer berg stein wald feld baum blume engel zimmer sturm vogel
    petit blanc noir rouge brun fort beau belle claire pierre fleur constant parfait bon bonne roi lion moulin roche berger
    alma luz sol mar paz cielo dolores pilar cruz flores blanco rojo rubio moreno leon rico bueno guerra campo campos torres
    casas fuentes rios luna rey santo santa bello bella serena vera felice bianco rosso nero costa fontana monte ferro chiara
    jong groot wit zwart boer vos bos
    """.split()  # noqa: SIM905
)
