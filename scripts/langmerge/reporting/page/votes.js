// A page for voters: two answers to each prompt, without names. It works from a file, and what was
// voted is kept in the browser and saved as a file by the voter.

const BALLOT = readData();
const STORE = "votes";
const CHOICES = [
  {choice: "left", text: "The left one"}, {choice: "both_good", text: "Both are equally good"},
  {choice: "both_bad", text: "Both are bad"}, {choice: "right", text: "The right one"},
];
const STATE = {voter: "", votes: {}, at: 0};
let isKept = true;
let writes = 0; // that are not in the browser's database yet

/** The browser's database of this page. Not localStorage: while a page loads, Chromium may show it empty. */
const database = new Promise((found, failed) => {
  const request = indexedDB.open(`langmerge-votes-${BALLOT.page}`, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  request.onsuccess = () => found(request.result);
  request.onerror = () => failed(request.error);
});

/** Do something with the store, and wait until it is done. */
const inStore = async (mode, action) => {
  const transaction = (await database).transaction(STORE, mode);
  const request = action(transaction.objectStore(STORE));
  return new Promise((found, failed) => {
    transaction.oncomplete = () => found(request.result);
    transaction.onerror = transaction.onabort = () => failed(transaction.error);
  });
};

/** Keep what was voted in the browser, so that a closed tab loses nothing. */
async function keep() {
  writes += 1;
  try {
    await inStore("readwrite", (store) => store.put(STATE, "state"));
  } catch {
    isKept = false; // private windows and some settings forbid it
  }
  writes -= 1;
}

async function remember() {
  try {
    Object.assign(STATE, await inStore("readonly", (store) => store.get("state")));
  } catch {
    isKept = false;
  }
}

const done = () => BALLOT.items.filter(({id}) => STATE.votes[id]?.choice).length;

function vote(item, choice) {
  STATE.votes[item.id] = {...STATE.votes[item.id], choice};
  STATE.at = Math.min(STATE.at + 1, BALLOT.items.length);
  keep();
  show();
}

function go(step) {
  STATE.at = Math.max(0, Math.min(BALLOT.items.length, STATE.at + step));
  keep();
  show();
}

/** Save the votes as a file. */
function save() {
  const votes = BALLOT.items.filter(({id}) => STATE.votes[id]?.choice)
    .map(({id}) => ({item: id, choice: STATE.votes[id].choice, comment: STATE.votes[id].comment ?? ""}));
  const content = JSON.stringify({page: BALLOT.page, voter: STATE.voter.trim(), votes}, null, 1);
  const name = STATE.voter.trim().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "voter";
  const link = el("a", {href: URL.createObjectURL(new Blob([content], {type: "application/json"})), download: `votes-${BALLOT.page}-${name}.json`});
  document.body.append(link);
  link.click();
  link.remove();
}

function show() {
  const item = BALLOT.items[STATE.at];
  const voter = el("input", {type: "text", id: "voter", value: STATE.voter, autocomplete: "name", oninput: () => {
    STATE.voter = voter.value;
    keep();
    saveButton.disabled = !STATE.voter.trim();
  }});
  const saveButton = el("button", {type: "button", id: "save", text: "Save my votes as a file", disabled: !STATE.voter.trim(), onclick: save});
  document.getElementById("main").replaceChildren(
    el("p", {}, el("label", {}, el("progress", {value: done(), max: BALLOT.items.length}), ` ${done()} of ${BALLOT.items.length} voted`)),
    ...(isKept ? [] : [el("p", {class: "warning", text: "This browser keeps nothing: save your votes before you close the tab."})]),
    ...(item ? question(item) : [el("h2", {text: "That is all, thank you."}), el("p", {text: "Save your votes and send the file back."})]),
    el("div", {class: "controls"},
      el("button", {type: "button", id: "back", text: "Back", disabled: STATE.at === 0, onclick: () => go(-1)}),
      el("button", {type: "button", id: "next", text: "Skip", disabled: !item, onclick: () => go(1)}),
      el("label", {class: "field"}, el("span", {text: "Your name or initials"}), voter), saveButton),
    el("p", {class: "soft small", text: "Keys: 1, 2, 3 and 4 vote. Votes stay in this browser until you save them; nothing is sent anywhere."}));
}

function question(item) {
  const own = STATE.votes[item.id] ?? {};
  const comment = el("textarea", {id: "comment", rows: 2, cols: 60, oninput: () => {
    STATE.votes[item.id] = {...STATE.votes[item.id], comment: comment.value};
    keep();
  }});
  comment.value = own.comment ?? "";
  const answer = (title, text) => el("div", {class: "answer"}, el("h4", {text: title}),
    text.trim() ? el("pre", {lang: BALLOT.language, dir: "auto", text}) : el("p", {class: "soft", text: "(an empty answer)"}));
  return [
    el("div", {class: "given"}, el("span", {class: "label", text: "Prompt"}), el("pre", {dir: "auto", text: item.prompt})),
    el("div", {class: "pair"}, answer("Left", item.left), answer("Right", item.right)),
    el("div", {class: "choices", role: "group", "aria-label": "Which answer is better?"}, ...CHOICES.map(({choice, text}, i) =>
      el("button", {type: "button", "data-choice": choice, "aria-pressed": String(own.choice === choice), "aria-keyshortcuts": String(i + 1), text, onclick: () => vote(item, choice)}))),
    el("p", {}, el("label", {class: "field"}, el("span", {text: "Comment (optional)"}), comment)),
  ];
}

addEventListener("keydown", (event) => {
  const choice = CHOICES[Number(event.key) - 1], item = BALLOT.items[STATE.at];
  if (choice && item && !event.ctrlKey && !event.metaKey && !event.altKey && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) vote(item, choice.choice);
});
addEventListener("beforeunload", (event) => {
  if (writes) event.preventDefault(); // the browser asks before it closes a tab whose last words are not kept
});
remember().then(show);
