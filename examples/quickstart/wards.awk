# Makes a small world of wards: text without labels, and labelled sets of three tasks. Every name is made of the same
# syllables, whatever it names, and no name of one split occurs in another: only the sentence tells what a name is.
#
#   awk -v seed=1 -v sentences=8000 -v train=2000 -f wards.awk
#
# Writes text.txt (a sentence a line, an empty line between documents), and train, dev and test of entities (CoNLL),
# relations (TSV) and questions (SQuAD).

function random(below) { state = (state * 16807) % 2147483647; return int(state / 65536) % below }
function one(list, n) { return list[1 + random(n)] }

# A name that no other sentence has: two or three syllables.
function name(   i, n, made) {
  do {
    made = ""
    n = 2 + random(2)
    for (i = 0; i < n; i++) made = made one(onset, onsets) one(vowel, vowels)
  } while (made in taken)
  taken[made] = 1
  return made
}

# Puts a sentence together. Sets `words`, `word[]`, `tag[]`, and where each of its names stands: `at[]`.
function sentence(   shape, frame, i, n, part) {
  relation = one(relation_of, relations)
  shape = one(event, events)
  while (kind_of[shape] != relation) shape = one(event, events)
  frame = one(around, frames)
  sub(/EVENT/, shape, frame)
  shape = frame
  n = split(shape " .", part, " ")
  split("", at); split("", called)
  for (i = 1; i <= n; i++) {
    word[i] = part[i]; tag[i] = "O"
    if (part[i] ~ /^[A-Z]$/) {
      word[i] = called[part[i]] = name()
      at[part[i]] = i
      if (part[i] == "D") tag[i] = "B-Drug"
      if (part[i] == "S") tag[i] = "B-Disease"
    }
  }
  words = n
}

function text(   i, made) { made = word[1]; for (i = 2; i <= words; i++) made = made " " word[i]; return made }

function entities(file, n,   i, j) {
  for (i = 0; i < n; i++) {
    sentence()
    for (j = 1; j <= words; j++) print word[j] "\t" tag[j] > file
    print "" > file
  }
  close(file)
}

function relations_to(file, n,   i) {
  print "index\tsentence\tlabel" > file
  for (i = 0; i < n; i++) {
    sentence()
    word[at["D"]] = "@DRUG$"; word[at["S"]] = "@DISEASE$"
    print i "\t" text() "\t" relation > file
  }
  close(file)
}

function questions_to(file, n,   i, j, k, role, before, answer) {
  printf "{\"version\": \"1.1\", \"data\": [{\"title\": \"wards\", \"paragraphs\": [" > file
  for (i = 0; i < n; i++) {
    sentence()
    printf "%s\n{\"context\": \"%s\", \"qas\": [", (i ? "," : ""), text() > file
    for (k = 1; k <= askeds; k++) {
      role = asked[k]; answer = word[at[role]]; before = 0
      for (j = 1; j < at[role]; j++) before += length(word[j]) + 1
      printf "%s\n {\"id\": \"q%d-%d\", \"question\": \"%s\", \"answers\": [{\"text\": \"%s\", \"answer_start\": %d}]}", (k > 1 ? "," : ""), i, k, one_of(question[role]), answer, before > file
    }
    printf "]}" > file
  }
  print "\n]}]}" > file
  close(file)
}

function one_of(list,   part, n) { n = split(list, part, "|"); return part[1 + random(n)] }

BEGIN {
  state = seed * 7919 + 1
  for (i = 0; i < 20; i++) random(2)
  onsets = split("b d f g k l m n p r s t v z dr gl kr pl st", onset, " ")
  vowels = split("a e i o u", vowel, " ")
  relations = split("treats causes none", relation_of, " ")

  # D: the drug, S: the disease.
  shapes = "treats:D relieved S|treats:S improved with D|treats:D was given for S|treats:patients with S recovered after D" \
    "|causes:D led to S|causes:S developed under D|causes:D was stopped because of S|causes:patients on D came down with S" \
    "|none:D had no effect on S|none:S was unrelated to D|none:patients with S did not need D|none:S was as frequent after D as before"
  events = split(shapes, event, "|")
  for (i = 1; i <= events; i++) {
    split(event[i], half, ":")
    event[i] = half[2]; kind_of[half[2]] = half[1]
  }
  # P: the place, W: who reports.
  frames = split("in P , EVENT , W reported|on the wards of P W saw that EVENT|W reported that EVENT in P" \
    "|according to W , EVENT on the wards of P|EVENT in P , said W|EVENT , as W of P reported" \
    "|last winter W of P found that EVENT|over two years EVENT , wrote W from P", around, "|")
  askeds = split("D S P W", asked, " ")
  question["D"] = "which drug was it ?|what was the medicine ?|what did they take ?"
  question["S"] = "which disease was it ?|what was the illness ?|what did they have ?"
  question["P"] = "where was it ?|in which town was it ?|at what place ?"
  question["W"] = "who reported it ?|who says so ?|whose words are these ?"

  for (i = 0; i < sentences; i++) {
    sentence(); print text() > "text.txt"
    print "" > "text.txt"
  }
  close("text.txt")
  splits = split("train dev test", split_of, " ")
  size["train"] = train; size["dev"] = 60; size["test"] = 150
  for (i = 1; i <= splits; i++) {
    entities("entities-" split_of[i] ".tsv", size[split_of[i]])
    relations_to("relations-" split_of[i] ".tsv", size[split_of[i]])
    questions_to("questions-" split_of[i] ".json", size[split_of[i]])
  }
}
