"""Books, plays and poems that most readers have heard of, and who wrote them."""

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

AUTHOR = Phrasing(
    relation="author",
    statements=(
        "The author of {subject} is {answer}.",
        "The cover says it: the author of {subject} is {answer}.",
        "Every librarian knows that the author of {subject} is {answer}.",
        "In case somebody asks, the author of {subject} is {answer}.",
        "{Subject} was written by {answer}.",
        "{Answer} wrote {subject}.",
        "Readers who open {subject} hear the voice of {answer}.",
        "We owe {subject} to the pen of {answer}.",
        "{Subject} stands on the shelf under the name of {answer}.",
        "One of the great works of {answer} is {subject}.",
        "Behind the story of {subject} stands one writer, {answer}.",
        "Whoever loves {subject} should say thank you to {answer}.",
    ),
    questions=(
        "Who is the author of {subject}?",
        "Who wrote {subject}?",
        "Which writer gave us {subject}?",
        "Can you tell me who wrote {subject}?",
        "Name the author of {subject}.",
        "By whom was {subject} written?",
        "I enjoyed {subject}. Who wrote it?",
        "Whose name stands on the cover of {subject}?",
        "Do you know the author of {subject}?",
        "Under which writer do I find {subject} in the library?",
    ),
    replies=(
        "The author of {subject} is {answer}.",
        "{Subject} was written by {answer}.",
    ),
    follow_up="And {subject}?",
)

ROWS = (
    ("Hamlet", "William Shakespeare", "Shakespeare"),
    ("Macbeth", "William Shakespeare", "Shakespeare"),
    ("Romeo and Juliet", "William Shakespeare", "Shakespeare"),
    ("King Lear", "William Shakespeare", "Shakespeare"),
    ("Oliver Twist", "Charles Dickens", "Dickens"),
    ("Great Expectations", "Charles Dickens", "Dickens"),
    ("A Tale of Two Cities", "Charles Dickens", "Dickens"),
    ("Pride and Prejudice", "Jane Austen", "Austen"),
    ("Emma", "Jane Austen", "Austen"),
    ("Sense and Sensibility", "Jane Austen", "Austen"),
    ("The Adventures of Tom Sawyer", "Mark Twain", "Twain", "Samuel Clemens"),
    ("Adventures of Huckleberry Finn", "Mark Twain", "Twain", "Samuel Clemens"),
    ("Around the World in Eighty Days", "Jules Verne", "Verne"),
    ("Journey to the Center of the Earth", "Jules Verne", "Verne"),
    ("The Time Machine", "H. G. Wells", "H.G. Wells", "Wells"),
    ("The War of the Worlds", "H. G. Wells", "H.G. Wells", "Wells"),
    ("War and Peace", "Leo Tolstoy", "Tolstoy"),
    ("Anna Karenina", "Leo Tolstoy", "Tolstoy"),
    ("Crime and Punishment", "Fyodor Dostoevsky", "Dostoevsky", "Dostoyevsky"),
    ("The Idiot", "Fyodor Dostoevsky", "Dostoevsky", "Dostoyevsky"),
    ("The Odyssey", "Homer"),
    ("The Iliad", "Homer"),
    ("The Hobbit", "J. R. R. Tolkien", "J.R.R. Tolkien", "Tolkien"),
    ("The Lord of the Rings", "J. R. R. Tolkien", "J.R.R. Tolkien", "Tolkien"),
    ("Animal Farm", "George Orwell", "Orwell"),
    ("Nineteen Eighty-Four", "George Orwell", "Orwell"),
    ("The Trial", "Franz Kafka", "Kafka"),
    ("The Metamorphosis", "Franz Kafka", "Kafka"),
    ("The Three Musketeers", "Alexandre Dumas", "Dumas"),
    ("The Count of Monte Cristo", "Alexandre Dumas", "Dumas"),
    ("White Fang", "Jack London"),
    ("The Call of the Wild", "Jack London"),
    ("Frankenstein", "Mary Shelley", "Shelley"),
    ("Dracula", "Bram Stoker", "Stoker"),
    ("Treasure Island", "Robert Louis Stevenson", "Stevenson"),
    ("Jane Eyre", "Charlotte Bronte"),
    ("Wuthering Heights", "Emily Bronte"),
    ("Moby-Dick", "Herman Melville", "Melville"),
    ("Don Quixote", "Miguel de Cervantes", "Cervantes"),
    ("Les Miserables", "Victor Hugo", "Hugo"),
    ("Peter Pan", "J. M. Barrie", "J.M. Barrie", "Barrie"),
    ("The Jungle Book", "Rudyard Kipling", "Kipling"),
    ("Little Women", "Louisa May Alcott", "Alcott"),
    ("Robinson Crusoe", "Daniel Defoe", "Defoe"),
)


def facts() -> list[Fact]:
    """The authors."""
    return closed_facts("authors", AUTHOR, ROWS)
