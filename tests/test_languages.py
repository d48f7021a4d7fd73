"""The language of a paragraph is told by its small words, or it is not told at all."""

import random
import sysconfig
from pathlib import Path

import pytest

from sllm_core.corpus.languages import LATIN, detect, is_latin

PARAGRAPHS = {
    "en": "My grandmother used to bake bread every Saturday before the rest of the house was awake. "
    "When we came down to the kitchen, the table was covered with flour and the windows were white "
    "with steam. She never weighed anything, and she could not tell us how much salt was in it, but "
    "it was always the same loaf, and there was never enough for all of us.",
    "de": "Am Samstag fahren wir mit dem Zug an die See, weil das Wetter endlich besser geworden ist. "
    "Die Kinder haben ihre Eimer schon eingepackt und fragen alle zehn Minuten, wann es losgeht. "
    "Ich habe ihnen gesagt, dass wir erst am Mittag dort sind und dass sie noch ein wenig warten "
    "müssen. Am Abend kommen wir müde nach Hause und essen eine heiße Suppe.",
    "fr": "Le marché se tient tous les mercredis sur la place devant la mairie. Les marchands arrivent "
    "avant le lever du soleil et installent leurs tables sous les arbres. On y trouve des légumes, "
    "du fromage, des fleurs et parfois des vêtements qui ne coûtent pas cher. Ma voisine y va avec "
    "son panier, même quand il pleut, parce que c'est là qu'elle rencontre ses amies.",
    "es": "La biblioteca del barrio abre a las nueve, pero mucha gente espera en la puerta desde antes. "
    "Algunos vienen para leer el periódico y otros porque en su casa no hay calefacción. El "
    "bibliotecario los conoce a todos y sabe qué libro le gusta a cada uno. Cuando llueve, se "
    "queda un rato más con ellos y les cuenta cómo era la ciudad cuando él era niño.",
    "it": "Il treno per la montagna parte alle sette del mattino e ci mette quasi tre ore. Durante il "
    "viaggio si vedono i laghi, i paesi con le case di pietra e, se il cielo è sereno, anche la "
    "neve sulle cime. I miei zii abitano nell'ultima casa della valle e ci aspettano sempre con una "
    "torta che è ancora calda. La sera non c'è nessun rumore, solo il fiume.",
    "pt": "O barco sai do porto às seis da manhã e só volta quando já está escuro. Os pescadores levam "
    "pão, queijo e uma garrafa de café, porque não há tempo para cozinhar no mar. Quando a rede "
    "vem cheia, eles cantam; quando não vem, ficam em silêncio e olham para as nuvens. Em casa, as "
    "crianças esperam pelo peixe e pelas histórias que o pai sempre traz.",
    "nl": "Onze fietsen staan achter het huis, onder een afdak dat mijn broer zelf heeft gebouwd. Als het "
    "regent, blijven ze droog, maar de wind waait er wel de bladeren in. Op zondag rijden we langs "
    "het water naar het dorp en drinken we koffie bij een oude vrouw die daar al haar hele leven "
    "woont. Zij vertelt over de winter waarin de rivier was dichtgevroren.",
    "sv": "Varje sommar bor vi några veckor i en liten stuga vid sjön. Det finns ingen el och vattnet "
    "måste vi hämta i en brunn som ligger bakom huset. På kvällarna sitter vi på bryggan och ser hur "
    "solen går ner över skogen. Min syster vill alltid bada en sista gång, även om det är kallt, och "
    "sedan kokar vi te och spelar kort tills vi blir trötta.",
    "da": "Hver morgen går jeg en tur med hunden, også når det regner. Vi følger stien langs åen, og "
    "efter en halv time kommer vi til en bro, hvor jeg plejer at hvile mig. Der møder vi ofte en "
    "ældre mand, som har været sømand, og han fortæller gerne om de byer, han har set. Hunden bliver "
    "utålmodig og trækker i snoren, men jeg synes, at det er dagens bedste stund.",
    "no": "Hytta ligger høyt oppe i fjellet, og det er ikke vei helt fram. Vi må gå den siste timen med "
    "alt vi trenger på ryggen, også når det snør. Når vi endelig kommer inn, fyrer vi i ovnen og "
    "henger klærne til tørk. Etter maten sitter vi og ser ut på stjernene, og ingen av oss savner "
    "noe. Jeg har vært der hver vinter siden jeg var liten, og det blir aldri kjedelig.",
    "pl": "W naszym ogrodzie rośnie stara jabłoń, którą posadził jeszcze mój dziadek. Na wiosnę jest cała "
    "biała, a jesienią daje tyle owoców, że nie wiemy, co z nimi zrobić. Część zjadamy od razu, a z "
    "reszty mama robi dżem, który potem stoi w piwnicy przez całą zimę. Sąsiedzi też przychodzą, bo "
    "wiedzą, że u nas zawsze jest czegoś za dużo i że lubimy się dzielić.",
    "cs": "Každé ráno jezdím do práce tramvají, která je vždycky plná lidí. Někteří čtou noviny, jiní se "
    "dívají z okna a děti si vyprávějí, co bylo včera ve škole. Když prší, jsou okna zamlžená a není "
    "vidět, kde právě jsme, ale já už tu cestu znám zpaměti. Na konečné zastávce je malá kavárna, "
    "kde si koupím kávu a pak ještě chvíli sedím, protože se mi nechce do kanceláře.",
    "hu": "A falu végén áll egy régi malom, amely már sok éve nem működik. A gyerekek azt mondják, hogy "
    "éjszaka hangokat lehet hallani benne, de én csak a szelet hallottam. Nyáron gyakran ülünk ott a "
    "patak mellett, és azt nézzük, hogyan úsznak a halak a víz alatt. Nagyapám mesélte, hogy egykor "
    "innen vitték a lisztet a városba, és minden reggel kocsik álltak az udvaron.",
    "tr": "Köyümüz dağın eteğinde, küçük bir nehrin kenarında kurulmuş. Yazın sabahları çok güzel olur, "
    "çünkü hava hem serin hem de temizdir. Dedem her gün erkenden kalkar ve bahçede çalışır; ben de "
    "ona yardım ederim. Öğleden sonra gölgede oturur, çay içeriz ve bana eski zamanları anlatır. O "
    "günlerde köyde elektrik yoktu ama insanlar daha çok bir araya gelirdi.",
    "fi": "Mökki on pienen järven rannalla, eikä sinne ole kunnon tietä. Kesällä me soudamme sinne "
    "veneellä ja talvella hiihdämme jään yli. Illalla lämmitämme saunan ja sen jälkeen istumme "
    "kuistilla, kun aurinko ei vielä ole laskenut. Isä kertoo aina samat tarinat, mutta ne ovat "
    "silti hyviä, ja me nauramme niin kuin kuulisimme ne ensimmäistä kertaa. Minä en tahtoisi "
    "koskaan lähteä sieltä kotiin, mutta loma on lyhyt ja koulu alkaa jo pian.",
    "ro": "În fiecare toamnă mergem la bunici, într-un sat de lângă pădure. Casa lor este veche, dar are "
    "o curte mare cu meri și un câine care nu latră niciodată. Dimineața culegem fructele care au "
    "căzut peste noapte și le ducem în pivniță, iar după masă stăm cu toții lângă foc. Bunica ne "
    "spune povești despre vremea când era mică și nu existau mașini prin sat.",
    "vi": "Mỗi buổi sáng, bà tôi ra chợ từ rất sớm để mua rau và cá tươi. Khi bà trở về, cả nhà đã dậy và "
    "nước trong bếp đang sôi. Bà nấu cháo cho mọi người, rồi ngồi bên cửa sổ nhìn những đứa trẻ đi "
    "học. Bà thường nói rằng ngày xưa con đường này không có xe, và người ta phải đi bộ rất xa để "
    "đến trường. Tôi thích nghe bà kể, vì mỗi lần lại có một điều mới.",
    "ru": "По вечерам мы часто выходим на берег реки и смотрим, как мимо проходят баржи. Мой брат знает "
    "названия всех пароходов и умеет отличать их по гудку. Зимой река замерзает, и тогда можно "
    "перейти на другой берег пешком, хотя взрослые этого не любят.",
    "uk": "Щоліта ми їздимо до бабусі в село, де є великий сад і стара криниця. Увечері вся родина "
    "збирається за столом під грушею, і дідусь розповідає про ті часи, коли він був ще хлопцем. "
    "Вночі дуже тихо, і чути тільки жаб біля ставка.",
    "el": "Το καλοκαίρι πηγαίνουμε στο νησί με το πρώτο πλοίο της ημέρας. Το σπίτι μας είναι μικρό, αλλά "
    "από το παράθυρο φαίνεται όλη η θάλασσα. Το βράδυ καθόμαστε έξω και μετράμε τα φώτα των καϊκιών.",
    "he": "בכל יום שישי אנחנו נוסעים אל סבתא שלי, שגרה בבית קטן ליד הים. היא מבשלת מרק ואופה לחם, "
    "ואחרי הארוחה היא מספרת לנו סיפורים על הימים שבהם הייתה ילדה.",
    "ar": "في كل صباح يخرج جدي إلى الحديقة ويسقي الأشجار قبل أن ترتفع الشمس. ثم يجلس تحت شجرة التين ويشرب "
    "القهوة ويقرأ الجريدة، وبعد ذلك يحكي لنا عن القرية التي ولد فيها.",
    "hi": "हर सुबह मेरे दादाजी बगीचे में जाते हैं और पौधों को पानी देते हैं। उसके बाद वे आम के पेड़ के नीचे बैठकर "
    "चाय पीते हैं और हमें अपने बचपन की कहानियाँ सुनाते हैं।",
    "th": "ทุกเช้าคุณยายของฉันจะตื่นแต่เช้าเพื่อไปตลาดและซื้อผักสด เมื่อกลับมาถึงบ้านท่านก็ทำอาหารให้ทุกคน "
    "แล้วนั่งเล่าเรื่องเก่าให้หลานฟังใต้ต้นมะม่วงหน้าบ้าน",
    "zh": "每年秋天，我们都会回到山里的老家。院子里有一棵很大的柿子树，祖父总是把最红的果子留给孩子们。"
    "晚上没有什么声音，只听得见远处的河水，大家围着炉子说话，一直说到很晚。",
    "ja": "毎朝、祖父は早く起きて庭の木に水をやります。それから縁側に座ってお茶を飲み、新聞を読みます。"
    "夏休みになると私たちも一緒に座って、昔の村の話を聞くのが楽しみでした。",
    "ko": "우리 할머니는 매일 아침 일찍 일어나 시장에 가십니다. 돌아오시면 온 가족을 위해 국을 끓이고, 식사가 "
    "끝나면 마루에 앉아 옛날 이야기를 들려주십니다. 나는 그 시간이 가장 좋았습니다.",
}  # fmt: skip
SPACED = [code for code in PARAGRAPHS if code in LATIN]


def windows(text, n_words=50):
    """Each run of 50 words, five words apart."""
    words = text.split()
    return [
        " ".join(words[at : at + n_words]) for at in range(0, max(1, len(words) - n_words + 1), 5)
    ]


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_a_paragraph_is_known(language):
    assert detect(PARAGRAPHS[language]) == language
    assert detect(PARAGRAPHS[language] * 100) == language


def test_fifty_words_are_enough_in_98_of_100_cases():
    assert all(len(PARAGRAPHS[code].split()) >= 50 for code in SPACED)
    cases = [(code, part) for code in SPACED for part in windows(PARAGRAPHS[code])]
    wrong = [(code, detect(part)) for code, part in cases if detect(part) != code]
    assert len(wrong) <= 0.02 * len(cases), wrong


@pytest.mark.parametrize("seed", range(20))
def test_gibberish_has_no_language(seed):
    source = random.Random(seed)
    syllables = ["".join(pair) for pair in zip(source.choices("bdfgklmnprstv", k=40),
                 source.choices("aeiou", k=40), strict=True)]  # fmt: skip
    words = ["".join(source.choices(syllables, k=source.randint(1, 4))) for _ in range(300)]
    assert detect(" ".join(words)) == ""
    letters = "".join(source.choices("abcdefghijklmnopqrstuvwxyz   ", k=2000))
    assert detect(letters) == ""


@pytest.mark.parametrize("text", ["", "ok", "1 2 3 4 5 6 7 8 9 " * 30, "l l\n" * 200, "🙂" * 500,
                                  "\ud800" * 100, "x = y + z\n" * 100, "\u0301" * 5000])  # fmt: skip
def test_what_is_no_sentence_has_no_language(text):
    assert detect(text) == ""


def test_half_and_half_is_not_decided_for_a_script_of_the_minority():
    assert detect("Привет, друзья. " + PARAGRAPHS["en"]) == "en"
    assert detect(PARAGRAPHS["ru"] + PARAGRAPHS["zh"] * 3) == "zh"


def test_related_scripts_are_not_taken_for_each_other():
    persian = "هر روز صبح پدربزرگ من به باغ می‌رود و درختان را آب می‌دهد، سپس چای می‌نوشد. " * 2
    serbian = (
        "Сваког јутра мој деда иде у башту и залива дрвеће, а онда пије кафу испод крушке. " * 2
    )
    bengali = "সকালে আমরা বাজারে যাই এবং তাজা মাছ কিনি, তারপর বাড়ি ফিরে রান্না করি। " * 2
    assert detect(persian) == detect(serbian) == detect(bengali) == ""


def test_the_documentation_of_the_standard_library_is_english():
    text = (Path(sysconfig.get_paths()["stdlib"]) / "argparse.py").read_text(encoding="utf-8")
    assert detect(text) == "en"


def test_latin_languages_are_those_with_latin_letters():
    assert is_latin("de") and is_latin("vi")
    assert not is_latin("ru") and not is_latin("zh") and not is_latin("")
