// Command app is the application of the sidecar example: a shop window on
// loopback, without sessions, without JavaScript on the server, and unaware of
// what Caddy adds in front of it.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
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
  body { max-width: 34rem; margin: 3rem auto; padding: 0 1rem; font: 1.05rem/1.6 Georgia, serif; color: #2a2a22; background: #fbf8ef }
  li { display: flex; justify-content: space-between; padding: .4rem 0; border-bottom: 1px solid #ddd6c1 }
  ul { padding: 0 } button { font: inherit; padding: .1rem .8rem } output { font-weight: bold }
</style>
<h1>A small tea shop</h1>
<ul>{{range .}}<li>{{.Name}} <button value="{{.ID}}">{{.Cents}} ¢, please</button></li>{{end}}</ul>
<p>In your basket: <output>…</output></p>
<script>
  const show = async (response) => {
    const { lines, cents } = await (await response).json();
    document.querySelector("output").textContent =
      lines.length ? lines.map((l) => l.count + " × " + l.name).join("; ") + ": " + cents + " ¢" : "nothing yet";
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
