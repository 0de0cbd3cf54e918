"""What people do at work, one sentence for each job."""

from typing import NamedTuple

from chatwright.tasks.primer.fact import Fact


class Job(NamedTuple):
    """A job, what one does in it, why it matters, and the keywords a right reply has."""

    name: str
    does: str
    why: str
    keywords: tuple[str, ...]


QUESTIONS = (
    "What does {a} do?",
    "What does {a} do all day?",
    "What is the job of {a}?",
    "What is the work of {a}?",
    "Tell me what {a} does.",
    "Can you explain what {a} does?",
    "What kind of work does {a} do?",
    "I want to become {a}. What would I do?",
    "What are the tasks of {a}?",
    "Describe the job of {a}.",
)

JOBS = (
    Job(
        "Data Scientist",
        "studies data, looks for patterns in it, and explains what they mean",
        "Good answers from data help people to decide well.",
        ("data", "patterns|mean|studies"),
    ),
    Job(
        "Machine Learning Engineer",
        "builds and trains models that learn from data, and puts them to work in programs",
        "Such models make programs that get better with examples.",
        ("model", "build|train", "learn"),
    ),
    Job(
        "Software Engineer",
        "writes, tests and repairs computer programs",
        "Phones, cars and hospitals all need programs that work.",
        ("program|software", "writes|tests"),
    ),
    Job(
        "nurse",
        "cares for sick people, gives them their medicine, and watches how they are doing",
        "With good care, people get well sooner.",
        ("care|cares", "sick|people|medicine"),
    ),
    Job(
        "teacher",
        "explains new things to students and helps them to practise",
        "A good lesson can stay with a student for life.",
        ("student", "explains|helps"),
    ),
    Job(
        "baker",
        "mixes dough and bakes bread, rolls and cakes early in the morning",
        "Thanks to this work, there is fresh bread for breakfast.",
        ("bread", "bakes|dough"),
    ),
    Job(
        "farmer",
        "grows plants and keeps animals, so that there is food for everyone",
        "Without this work our plates would be empty.",
        ("plants|animals", "grows|keeps|food"),
    ),
    Job(
        "carpenter",
        "builds things from wood, such as tables, doors and roofs",
        "Good furniture can last for a hundred years.",
        ("wood", "build"),
    ),
    Job(
        "pilot",
        "flies airplanes and brings passengers safely to other places",
        "Safe landings need training and a calm mind.",
        ("flies|fly", "airplane|passenger"),
    ),
    Job(
        "firefighter",
        "puts out fires and rescues people from danger",
        "In an emergency every minute counts.",
        ("fire", "rescue"),
    ),
    Job(
        "librarian",
        "looks after the books of a library and helps readers to find what they need",
        "A well kept library opens its doors to every reader.",
        ("book", "library|reader"),
    ),
    Job(
        "gardener",
        "plants flowers and trees, waters them, and keeps gardens in good shape",
        "A garden gives joy to people and food to bees.",
        ("flower|tree|garden", "water|plants"),
    ),
    Job(
        "journalist",
        "finds out what is happening, checks the facts, and reports the news",
        "Careful news helps people to understand the world.",
        ("news", "fact|report"),
    ),
    Job(
        "architect",
        "designs buildings and draws the plans for them",
        "A good plan makes a house safe and pleasant to live in.",
        ("building|house", "design|draw"),
    ),
)


def facts() -> list[Fact]:
    """One open fact for each job."""
    return [_fact(job) for job in JOBS]


def _fact(job: Job) -> Fact:
    """The job with all its wordings."""
    a = f"{'an' if job.name[0].lower() in 'aeiou' else 'a'} {job.name}"
    the_a = a[0].upper() + a[1:]
    lower = a.lower()
    extra = () if lower == a else (f"What does {lower} do at work?", f"Please tell me what {lower} does.")
    return Fact(
        id=f"jobs/{job.name.lower().replace(' ', '_')}",
        domain="jobs",
        relation="job",
        subject=job.name,
        answers=job.keywords,
        statements=(
            f"{the_a} {job.does}.",
            f"{the_a} {job.does}. {job.why}",
            f"Somebody who works as {a} {job.does}.",
            f"This is the work of {a}: every day, {a} {job.does}.",
            f"{job.why} That is one reason to become {a}, for {a} {job.does}.",
            f"At work, {a} {job.does}.",
            f"I met {a}. I learned that {a} {job.does}.",
        ),
        questions=(*(form.format(a=a) for form in QUESTIONS), *extra),
        replies=(f"{the_a} {job.does}.", f"{the_a} {job.does}. {job.why}"),
        follow_up=f"What about {a}?",
        closed=False,
    )
