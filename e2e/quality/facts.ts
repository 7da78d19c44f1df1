/**
 * Facts by construction: a sentence that nobody wrote, questions about it, and the words that a right answer contains. Twelve
 * kinds are worded much as the default model's training exercises, ten are not; names and values are all new.
 */
import type { Random } from "./random.ts";

export interface Fact {
  /** "access code", "height". */
  readonly kind: string;
  /** Whether the default model was trained on sentences of this form (with other names and values). */
  readonly familiar: boolean;
  /** The sentence that is put into the text. */
  readonly statement: string;
  readonly question: string;
  /** What the fact is about; no two facts of a document share it. */
  readonly key: string;
  /** The words that answer the question. */
  readonly value: string;
}

const GIVEN =
  "Adela Bertram Cecily Dorian Edith Florian Gwen Horatio Isolde Jasper Kirsten Leopold Mabel Norbert Odette Percy Rowena Silas Tabitha Ulrich Verity Winston Yvette Zelda".split(
    " ",
  );
const FAMILY =
  "Ashdown Blackwood Corrigan Dunmore Ellery Fairbanks Goodwin Harcourt Ingleby Jessop Kingsley Lockhart Merriweather Northcott Oakley Pemberton Radcliffe Stanhope Thornton Vickers Whitaker".split(
    " ",
  );
const TOWNS =
  "Ashbourne Brackwell Caldermouth Dunleigh Eastholm Fernhollow Greywick Harrowgate Inverleigh Kestrel Lowmarsh Millbrook Netherby Oakhurst Pinecrest Quarrydale Ravensford Stonebridge Tidewater Westmere".split(
    " ",
  );
const PLACES =
  "north gate,east tower,boiler room,map cabinet,pump house,signal box,wine cellar,reading room,loading dock,music hall,seed vault,tool shed,chart room,old mill,ferry office,print shop,cold store,bell tower,watch room,dry dock".split(
    ",",
  );
const OBJECTS =
  "brass compass,spare anchor,ledger,copper kettle,fire axe,cello,snow shovel,master key,first aid box,globe,signal flag,rope ladder,typewriter,barometer,green ledger,silver bell,paint brush,sextant,oil can,folding chair".split(
    ",",
  );
const ITEMS =
  "hedge trimmer,wood stove,rowing boat,pressure cooker,hand saw,wheelbarrow,wall clock,food mixer,ice skates,sleeping bag,bread oven,paper press,garden hose,rain barrel,spinning wheel,toolbelt,hat stand,record player,camp bed,bird bath".split(
    ",",
  );
const JOBS =
  "surveyor,tailor,beekeeper,glazier,translator,geologist,watchmaker,florist,archivist,blacksmith,botanist,piano tuner,stonemason,gardener,cartographer".split(
    ",",
  );
const DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(" ");
const ANIMALS = "goats,sheep,bee hives,geese,donkeys,rabbits,ponies,turkeys".split(",");

interface Form {
  readonly kind: string;
  readonly familiar: boolean;
  make(random: Random): Omit<Fact, "kind" | "familiar" | "question"> & {
    readonly questions: readonly string[];
  };
}

const fullName = (random: Random): string => `${random.pick(GIVEN)} ${random.pick(FAMILY)}`;

const FORMS: readonly Form[] = [
  {
    kind: "pass code",
    familiar: true,
    make(random) {
      const place = random.pick(PLACES);
      const value = random.digits(4);
      return {
        statement: `The pass code of the ${place} is ${value}.`,
        questions: [
          `What is the pass code of the ${place}?`,
          `Which pass code opens the ${place}?`,
        ],
        key: `code of the ${place}`,
        value,
      };
    },
  },
  {
    kind: "access code",
    familiar: true,
    make(random) {
      const place = random.pick(PLACES);
      const value = random.digits(random.integer(4, 6));
      return {
        statement: `The access code for the ${place} is ${value}.`,
        questions: [
          `What is the access code for the ${place}?`,
          `What code do I need for the ${place}?`,
        ],
        key: `code of the ${place}`,
        value,
      };
    },
  },
  {
    kind: "phone number",
    familiar: true,
    make(random) {
      const name = fullName(random);
      const value = `${random.digits(3)}-${random.digits(4)}`;
      return {
        statement: `The phone number of ${name} is ${value}.`,
        questions: [
          `What is the phone number of ${name}?`,
          `What is ${name}'s phone number?`,
          `How can I call ${name}?`,
        ],
        key: `phone number of ${name}`,
        value,
      };
    },
  },
  {
    kind: "birth",
    familiar: true,
    make(random) {
      const name = fullName(random);
      const value = String(random.integer(1920, 2009));
      return {
        statement: `${name} was born in ${value}.`,
        questions: [`When was ${name} born?`, `In which year was ${name} born?`],
        key: `birth of ${name}`,
        value,
      };
    },
  },
  {
    kind: "home",
    familiar: true,
    make(random) {
      const name = fullName(random);
      const value = random.pick(TOWNS);
      return {
        statement: `${name} lives in ${value}.`,
        questions: [`Where does ${name} live?`, `Which city does ${name} live in?`],
        key: `home of ${name}`,
        value,
      };
    },
  },
  {
    kind: "job",
    familiar: true,
    make(random) {
      const name = fullName(random);
      const value = random.pick(JOBS);
      return {
        statement: `${name} works as a ${value}.`,
        questions: [`What is ${name}'s job?`, `What does ${name} do for a living?`],
        key: `job of ${name}`,
        value,
      };
    },
  },
  {
    kind: "price",
    familiar: true,
    make(random) {
      const item = random.pick(ITEMS);
      const value = `${random.integer(3, 990)} dollars`;
      return {
        statement: `The price of the ${item} is ${value}.`,
        questions: [`What is the price of the ${item}?`, `How much does the ${item} cost?`],
        key: `price of the ${item}`,
        value,
      };
    },
  },
  {
    kind: "whereabouts",
    familiar: true,
    make(random) {
      const object = random.pick(OBJECTS);
      const value = random.pick(PLACES);
      return {
        statement: `The ${object} is kept in the ${value}.`,
        questions: [`Where is the ${object} kept?`, `Where can I find the ${object}?`],
        key: `the ${object}`,
        value,
      };
    },
  },
  {
    kind: "train",
    familiar: true,
    make(random) {
      const town = random.pick(TOWNS);
      const value = `${random.integer(1, 12)}:${String(random.integer(0, 59)).padStart(2, "0")}`;
      return {
        statement: `The train to ${town} leaves at ${value}.`,
        questions: [`When does the train to ${town} leave?`, `What time is the train to ${town}?`],
        key: `train to ${town}`,
        value,
      };
    },
  },
  {
    kind: "meeting",
    familiar: true,
    make(random) {
      const name = fullName(random);
      const value = `${random.pick(DAYS)} at ${random.integer(1, 12)} ${random.pick(["am", "pm"])}`;
      return {
        statement: `The meeting with ${name} is on ${value}.`,
        questions: [`When is the meeting with ${name}?`, `What day is the meeting with ${name}?`],
        key: `meeting with ${name}`,
        value,
      };
    },
  },
  {
    kind: "invoice",
    familiar: true,
    make(random) {
      const name = fullName(random);
      const letters = "ABCDEFGHKLMNPRSTXZ".split("");
      const value = `${random.pick(letters)}${random.pick(letters)}-${random.digits(4)}`;
      return {
        statement: `The invoice number of ${name} is ${value}.`,
        questions: [`What is the invoice number of ${name}?`, `What is ${name}'s invoice number?`],
        key: `invoice number of ${name}`,
        value,
      };
    },
  },
  {
    kind: "mail",
    familiar: true,
    make(random) {
      const [given, family] = [random.pick(GIVEN), random.pick(FAMILY)];
      const value = `${given.toLowerCase()}.${random.pick(FAMILY).toLowerCase()}@example.${random.pick(["com", "org", "net"])}`;
      return {
        statement: `You can reach ${given} ${family} at ${value}.`,
        questions: [
          `What is the email address of ${given} ${family}?`,
          `How can I reach ${given} ${family} by email?`,
        ],
        key: `email address of ${given} ${family}`,
        value,
      };
    },
  },
  {
    kind: "animals",
    familiar: false,
    make(random) {
      const name = fullName(random);
      const animal = random.pick(ANIMALS);
      const value = `${random.integer(11, 190)} ${animal}`;
      return {
        statement: `On the farm near ${random.pick(TOWNS)} ${name} keeps ${value}.`,
        questions: [`How many ${animal} does ${name} keep?`],
        key: `${animal} of ${name}`,
        value,
      };
    },
  },
  {
    kind: "height",
    familiar: false,
    make(random) {
      const hill = `Mount ${random.pick(FAMILY)}`;
      const value = `${random.integer(301, 4900)} metres`;
      return {
        statement: `${hill}, above ${random.pick(TOWNS)}, is ${value} high.`,
        questions: [`How high is ${hill}?`, `What is the height of ${hill}?`],
        key: `height of ${hill}`,
        value,
      };
    },
  },
  {
    kind: "captain",
    familiar: false,
    make(random) {
      const ship = `${random.pick(["Sea", "Silver", "Morning", "Northern", "Golden"])} ${random.pick(["Heron", "Dolphin", "Petrel", "Star", "Albatross"])}`;
      const value = fullName(random);
      return {
        statement: `The captain of the ${ship} is ${value}.`,
        questions: [`Who is the captain of the ${ship}?`],
        key: `captain of the ${ship}`,
        value,
      };
    },
  },
  {
    kind: "painting",
    familiar: false,
    make(random) {
      const painting = `${random.pick(["The Blue", "The Last", "The Quiet", "The Burning"])} ${random.pick(["Orchard", "Harvest", "Window", "Harbour", "Staircase"])}`;
      const value = fullName(random);
      return {
        statement: `${value} painted ${painting} in ${random.integer(1780, 1990)}.`,
        questions: [`Who painted ${painting}?`],
        key: `painter of ${painting}`,
        value,
      };
    },
  },
  {
    kind: "warranty",
    familiar: false,
    make(random) {
      const item = random.pick(ITEMS);
      const value = `${random.integer(6, 96)} months`;
      return {
        statement: `For the ${item} the maker gives a warranty of ${value}.`,
        questions: [`How long is the warranty of the ${item}?`],
        key: `warranty of the ${item}`,
        value,
      };
    },
  },
  {
    kind: "staff",
    familiar: false,
    make(random) {
      const firm = `${random.pick(FAMILY)} and Sons`;
      const value = `${random.integer(12, 980)} people`;
      return {
        statement: `The firm of ${firm} now employs ${value}.`,
        questions: [`How many people does ${firm} employ?`],
        key: `staff of ${firm}`,
        value,
      };
    },
  },
  {
    kind: "bridge",
    familiar: false,
    make(random) {
      const town = random.pick(TOWNS);
      const value = String(random.integer(1710, 1995));
      return {
        statement: `The stone bridge at ${town} was finished in ${value}.`,
        questions: [
          `When was the stone bridge at ${town} finished?`,
          `In which year was the bridge at ${town} finished?`,
        ],
        key: `bridge at ${town}`,
        value,
      };
    },
  },
  {
    kind: "two sentences",
    familiar: false,
    make(random) {
      const name = fullName(random);
      const goods = random.pick([
        "crates of apples",
        "barrels of salt",
        "rolls of cloth",
        "sacks of flour",
      ]);
      const count = random.integer(3, 95);
      return {
        statement: `${name} reached ${random.pick(TOWNS)} late on a ${random.pick(DAYS)}. The old cart carried ${count} ${goods}.`,
        questions: [`How many ${goods} did the cart of ${name} carry?`],
        key: `cart of ${name}`,
        value: `${count} ${goods.split(" ")[0] ?? ""}`,
      };
    },
  },
  {
    kind: "aside",
    familiar: false,
    make(random) {
      const name = fullName(random);
      const value = `${random.integer(12, 88)} years`;
      return {
        statement: `It was ${name}, keeper of the lighthouse for ${value}, who first noticed that the harbour at ${random.pick(TOWNS)} had begun to silt up.`,
        questions: [
          `For how many years was ${name} keeper of the lighthouse?`,
          `How long did ${name} keep the lighthouse?`,
        ],
        key: `lighthouse of ${name}`,
        value,
      };
    },
  },
  {
    kind: "heir",
    familiar: false,
    make(random) {
      const name = fullName(random);
      const value = random.pick(OBJECTS);
      return {
        statement: `In her will ${name} left the ${value} to her neighbour.`,
        questions: [`What did ${name} leave to her neighbour?`],
        key: `will of ${name}`,
        value,
      };
    },
  },
];

/**
 * A fact whose key is not taken; takes it. Statements, questions and values of one document stay apart: what is asked
 * about has one answer in it.
 */
export function makeFact(random: Random, taken: Set<string>): Fact {
  for (;;) {
    const { kind, familiar, make } = random.pick(FORMS);
    const { questions, ...fact } = make(random);
    if (taken.has(fact.key)) continue;
    taken.add(fact.key);
    return { ...fact, kind, familiar, question: random.pick(questions) };
  }
}
