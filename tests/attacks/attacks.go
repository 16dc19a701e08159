// Package attacks is what hostile scripts, tokens and requests do to an edge,
// as data, and the run that asserts that they hurt nobody but themselves.
//
//	make attacks                                     everything, each isolation mode, each user
//	ATTACK='memory/.*repeat' go test -v ./tests/attacks   some of them, by class/name
//
// An Attack is a script and the request that starts it, with the answers that
// the documentation allows. It runs in a container of its own on a real edge
// that serves a victim all the time; see stage_test.go for what stands there,
// and run_test.go for what is asserted of each.
package attacks

import (
	"fmt"
	"slices"
	"strings"
)

// Attack is one entry of the suite.
type Attack struct {
	Class string // set by All
	Name  string // unique within its class

	// Code is the body of an async function of (request, env, ctx). What it
	// returns is answered: a Response as it is, anything else as text. Words
	// of the stage such as %ORIGIN% are replaced: see Words.
	Code string

	// Module is a whole file, instead of Code.
	Module string

	// By says how the code gets to the edge.
	By Delivery

	// Request is sent to the task; zero is a GET.
	Request Request

	// Before is the code of another task of the same container, with other
	// secrets and rights, that runs first.
	Before string

	// Visited sends a first request, with another visitor's private data, to
	// the very same task, before the one that is judged.
	Visited bool

	// Net, if not nil, is the claim `net` of the attacker's token.
	Net []string

	// Want are the answers that the documentation allows.
	Want []Outcome

	// Dangerous attacks take down, exhaust or occupy a process that runs them
	// without isolation, or may.
	Dangerous bool

	// Often is how many times at once the request is sent; 0 is once.
	Often int
}

// Delivery is the way of code to the edge.
type Delivery int

const (
	Token    Delivery = iota // a token names its URL
	Route                    // a route of the Caddyfile names its file
	RouteURL                 // a route of the Caddyfile names its URL
)

// Request is what the attacker sends.
type Request struct {
	Method string // empty: GET, or POST with a Body
	Path   string // after that of the task
	Header []string
	Body   string
}

// Outcome is an answer: a status, and a text that stands in it. For an answer
// that breaks off, Broken is set.
type Outcome struct {
	Status int
	Text   string
	Broken bool
}

// String is how a failure names an outcome.
func (o Outcome) String() string {
	text := fmt.Sprint(o.Status)
	if o.Text != "" {
		text += fmt.Sprintf(" %q", o.Text)
	}
	if o.Broken {
		text += " and breaks off"
	}
	return text
}

// Answers of the documentation, by the limit that is named.
var (
	overCPU     = Outcome{Status: 504, Text: "cpu_time"}
	overTime    = Outcome{Status: 504, Text: "timeout"}
	overMemory  = Outcome{Status: 500, Text: "memory"}
	overMemory2 = Outcome{Status: 502, Text: "memory"}
	overMemory3 = Outcome{Status: 503, Text: "memory"}
	overBody    = Outcome{Status: 500, Text: "response_body"}
	thrown      = Outcome{Status: 500, Text: "req_id"} // the script's own error
	rejected    = Outcome{Status: 400, Text: "req_id"} // code that does not compile, or a result that is none
	answered    = Outcome{Status: 200}
)

// stopped are the answers to what takes time and may take memory on the way.
var stopped = []Outcome{overCPU, overTime, overMemory, overMemory2, overMemory3}

// burst are the answers to what takes memory: the engine may refuse it, the
// worker's limit end it, or the time run out before.
var burst = append([]Outcome{thrown, overBody}, stopped...)

// any are all answers of a script that may as well succeed.
var harmless = append([]Outcome{answered, rejected}, burst...)

// said is what a script answers that reports on its own failure.
func said(text string) []Outcome { return []Outcome{{Status: 200, Text: text}} }

// All returns every attack, class by class.
func All() []Attack {
	var all []Attack
	for _, class := range classes {
		for _, attack := range class.attacks() {
			attack.Class = class.name
			all = append(all, attack)
		}
	}
	return all
}

var classes = []struct {
	name    string
	attacks func() []Attack
}{
	{"time", timeAttacks},
	{"memory", memoryAttacks},
	{"stack", stackAttacks},
	{"regexp", regexpAttacks},
	{"parser", parserAttacks},
	{"bundler", bundlerAttacks},
	{"microtask", microtaskAttacks},
	{"protocol", protocolAttacks},
	{"egress", egressAttacks},
	{"prototype", prototypeAttacks},
	{"leak", leakAttacks},
	{"sibling", siblingAttacks},
	{"host", hostAttacks},
	{"request", requestAttacks},
	{"response", responseAttacks},
	{"log", logAttacks},
}

// Label names the attack in reports: class/name.
func (a *Attack) Label() string { return a.Class + "/" + a.Name }

// Allows reports whether an answer is one of those that are wanted.
func (a *Attack) Allows(status int, body string, broken bool) bool {
	return slices.ContainsFunc(a.Want, func(o Outcome) bool {
		return o.Status == status && o.Broken == broken && strings.Contains(body, o.Text)
	})
}

// Source returns the file that runs.
func (a *Attack) Source(words *strings.Replacer) string {
	if a.Module != "" {
		return words.Replace(a.Module)
	}
	return module(words.Replace(a.Code))
}

// module makes a file of the body of a function.
func module(body string) string {
	return prelude + "async function attack(request, env, ctx) {\n" + body + "\n}\n"
}

// prelude holds the helpers of attacks: probe reports whether an address can
// be reached, tried whether a call throws.
const prelude = `
const show = (v) => typeof v === "string" ? v : JSON.stringify(v) ?? String(v);
const probe = async (url, init) => {
	try {
		const answer = await fetch(url, init);
		return "reached: " + answer.status + " " + (await answer.text()).slice(0, 2000);
	} catch (e) {
		return "refused: " + e;
	}
};
const tried = async (f) => {
	try {
		return "done: " + show(await f());
	} catch (e) {
		return "refused: " + e;
	}
};
export default {
	async fetch(request, env, ctx) {
		const got = await attack(request, env, ctx);
		return got instanceof Response ? got : new Response(show(got));
	},
};
`
