// Command app is the application of the sidecar example: a shop window on
// loopback, without sessions, without JavaScript on the server, and unaware of
// what Caddy adds in front of it.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
)

type item struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
}

// Price is what the page shows.
func (i item) Price() string { return fmt.Sprintf("€%d.%02d", i.Cents/100, i.Cents%100) }

var catalogue = []item{
	{"assam", "Assam, 100 g", 690},
	{"sencha", "Sencha, 100 g", 840},
	{"rooibos", "Rooibos, 100 g", 450},
}

var page = template.Must(template.New("shop").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A small tea shop</title>
<style>
  :root { color-scheme: light dark; --paper: #fbf8ef; --ink: #2a2a22; --line: #ddd6c1; --leaf: #3f6b3a; --on-leaf: #fff }
  @media (prefers-color-scheme: dark) {
    :root { --paper: #171a14; --ink: #ece8da; --line: #3a3f32; --leaf: #a9cf95; --on-leaf: #16200f }
  }
  body { max-width: 34rem; margin: 3rem auto; padding: 0 1rem; font: 1.05rem/1.6 Georgia, serif; color: var(--ink); background: var(--paper) }
  ul { padding: 0 }
  li { display: flex; align-items: center; gap: 1rem; padding: .6rem 0; border-bottom: 1px solid var(--line) }
  li span:first-child { flex: 1 }
  button { padding: .3rem .9rem; border: 0; border-radius: 999px; background: var(--leaf); color: var(--on-leaf); font: inherit; font-size: .95rem; cursor: pointer }
  button:hover { filter: brightness(1.1) }
  button:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px }
  output { font-weight: bold }
</style>
<h1>A small tea shop</h1>
<ul>{{range .}}<li><span>{{.Name}}</span> <span>{{.Price}}</span> <button value="{{.ID}}" aria-label="Add {{.Name}} to the basket">Add</button></li>{{end}}</ul>
<p>In your basket: <output>…</output></p>
<script>
  const euros = (cents) => "€" + (cents / 100).toFixed(2);
  const show = async (response) => {
    const { lines, cents } = await (await response).json();
    document.querySelector("output").textContent =
      lines.length ? lines.map((l) => l.count + " × " + l.name).join("; ") + ": " + euros(cents) : "nothing yet";
  };
  for (const button of document.querySelectorAll("button"))
    button.onclick = () => show(fetch("/basket", { method: "POST", body: JSON.stringify({ id: button.value }) }));
  show(fetch("/basket"));
</script>
`))

func main() {
	addr := flag.String("addr", cmp.Or(os.Getenv("APP"), "127.0.0.1:9000"), "address to listen on; default: that of APP, or")
	flag.Parse()

	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := page.Execute(w, catalogue); err != nil {
			log.Print(err)
		}
	})
	http.HandleFunc("GET /catalogue.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(catalogue); err != nil {
			log.Print(err)
		}
	})

	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", ln.Addr())
	log.Fatal(http.Serve(ln, nil))
}
