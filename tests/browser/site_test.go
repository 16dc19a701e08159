// Package browser drives the example site with a real browser, started as a
// newcomer starts it: by `make run`.
package browser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// site is `make run` with ports and data of its own.
type site struct {
	url   string
	root  string
	env   []string
	log   *harness.Log
	cmd   *exec.Cmd
	ended chan struct{}
}

func newSite(t *testing.T) *site {
	t.Helper()
	port, dir := strconv.Itoa(harness.Port(t)), t.TempDir()
	s := &site{
		url:  "http://localhost:" + port,
		root: harness.Root(t),
		env: append(os.Environ(), "PORT="+port, "API_PORT="+strconv.Itoa(harness.Port(t)),
			"CADDY_ADMIN=localhost:"+strconv.Itoa(harness.Port(t)),
			"LOGBOOKS="+filepath.Join(dir, "logbooks"), "XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config")),
	}
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *site) start(t *testing.T) {
	t.Helper()
	s.log, s.ended = &harness.Log{}, make(chan struct{})
	s.cmd = exec.Command("make", "run")
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.root, s.env, s.log, s.log
	// A group of its own, which Ctrl-C in a terminal would reach whole.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // ended by a signal, as Ctrl-C would
		close(s.ended)
	}()
	s.log.Wait(t, 0, "serving initial configuration", s.ended)
}

func (s *site) stop(t *testing.T) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Errorf("stopping the site: %v\n%s", err, s.log)
	}
	<-s.ended
	s.cmd = nil
}

// browser is one window, and what went wrong in it.
type browser struct {
	context.Context
	mu       sync.Mutex
	problems []string
	requests []string
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
	)
	if path, err := exec.LookPath("chromium"); err == nil {
		options = append(options, chromedp.ExecPath(path))
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	window, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	limited, cancel := context.WithTimeout(window, 3*time.Minute)
	t.Cleanup(cancel)

	return watch(t, limited)
}

// watch notes what goes wrong in a window.
func watch(t *testing.T, window context.Context) *browser {
	t.Helper()
	b := &browser{Context: window}
	err := chromedp.Listen(b, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			b.problems = append(b.problems, describe(event.ExceptionDetails))
		case *log.EventEntryAdded:
			if event.Entry.Level == log.EntryLevelError {
				b.problems = append(b.problems, event.Entry.Text+" "+event.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, event.Request.URL)
		}
	})
	if err != nil {
		t.Fatal("starting chromium: ", err)
	}
	return b
}

// another opens another window of the same browser.
func (b *browser) another(t *testing.T) *browser {
	t.Helper()
	window, cancel := chromedp.NewContext(b.Context)
	t.Cleanup(cancel)
	return watch(t, window)
}

// forget forgets problems that a text tells of.
func (b *browser) forget(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = slices.DeleteFunc(b.problems, func(problem string) bool { return strings.Contains(problem, text) })
}

func (b *browser) do(t *testing.T, what string, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		t.Fatalf("%s: %v\nthe page's problems: %v", what, err, b.problems)
	}
}

// ask evaluates an expression in the page.
func ask[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	value, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func describe(details *runtime.ExceptionDetails) string {
	if details.Exception != nil {
		return details.Text + " " + details.Exception.Description
	}
	return details.Text
}

// says waits until an element's text contains a text.
func says(selector, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](`document.querySelector(` + strconv.Quote(selector) + `)?.textContent.includes(` + strconv.Quote(text) + `)`)
}

// writes changes the text of the logbook, as typing does.
func writes(t *testing.T, b *browser, expression string) {
	t.Helper()
	ask[bool](t, b, `(() => {
		const area = document.getElementById("logbook"), text = area.value;
		area.value = `+expression+`;
		return area.dispatchEvent(new Event("input"));
	})()`)
}

// reads waits until the logbook has a text.
func reads(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](`document.getElementById("logbook").value === ` + strconv.Quote(text) + ` && !document.getElementById("logbook").disabled`)
}

// shot keeps a picture in the folder SCREENSHOTS, if that is set.
func (b *browser) shot(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b, chromedp.FullScreenshot(88))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".jpg"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

var ready = chromedp.WaitVisible[chromedp.CSS](`body[data-ready="true"]`)

func TestSite(t *testing.T) {
	s := newSite(t)
	// What may take minutes, on a machine that never built Caddy, goes first.
	build := exec.Command("make", "build")
	build.Dir = s.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	s.start(t)
	b := openBrowser(t)

	b.do(t, "opening the page", chromedp.Navigate(s.url), ready)
	b.do(t, "the route's task", says("#hello", "Harbour Light"))
	b.do(t, "the token's task", says("#report", "Wind south-west at 14 knots"))
	b.do(t, "a new visitor's counter", says("#lit", "0"))
	for _, lit := range []string{"1", "2", "3"} {
		b.do(t, "lighting the lamp", chromedp.Click[chromedp.CSS]("#light"), says("#lit", lit))
	}
	b.shot(t, "light")
	b.do(t, "another language", chromedp.Click[chromedp.CSS]("#abroad"), says("#hello", "Bienvenue"))
	b.do(t, "one's own language", chromedp.Click[chromedp.CSS]("#greet"), says("#hello", "Harbour Light"))

	b.do(t, "a wide window", chromedp.EmulateViewport(1280, 800))
	// The boxes with the answers, and the cards, of a row are alike.
	for _, selector := range []string{".result", ".card"} {
		if edges := ask[int](t, b, `new Set([...document.querySelectorAll("`+selector+`")].flatMap((e) => [
			"top " + Math.round(e.getBoundingClientRect().top), "bottom " + Math.round(e.getBoundingClientRect().bottom)])).size`); edges != 2 {
			t.Errorf("three of %s in a row have %d different edges, want one top and one bottom", selector, edges)
		}
	}
	if slack := ask[int](t, b, `Math.max(...[...document.querySelectorAll(".card")].map((card) =>
		Math.round(card.getBoundingClientRect().bottom - card.lastElementChild.getBoundingClientRect().bottom)))`); slack > 60 {
		t.Errorf("a card ends with %d px of nothing", slack)
	}

	// Two write in the logbook at once.
	b.do(t, "an empty logbook", reads(""), says("#logbook-state", "You are alone"))
	other := b.another(t)
	other.do(t, "opening the page again", chromedp.Navigate(s.url), ready, reads(""), says("#logbook-state", "2 are here"))
	writes(t, b, `"Fog since noon. 🌫️"`)
	other.do(t, "what the first wrote", reads("Fog since noon. 🌫️"))
	for range 5 {
		writes(t, b, `"<" + text`)
		writes(t, other, `text + ">"`)
	}
	const both = "<<<<<Fog since noon. 🌫️>>>>>"
	b.do(t, "what both wrote", reads(both), says("#logbook-state", "2 are here"))
	other.do(t, "what both wrote", reads(both))
	b.shot(t, "logbook")

	b.do(t, "reloading", chromedp.Reload(), ready, says("#lit", "3"), reads(both))
	s.stop(t)
	writes(t, other, `text + " kept"`)
	s.start(t)
	b.do(t, "reloading after a restart of the server", chromedp.Reload(), ready, says("#lit", "3"))
	b.do(t, "the logbook after a restart", reads(both+" kept"))
	b.forget("/logbook/") // it tried to connect while the server was gone
	b.do(t, "lighting the lamp again", chromedp.Click[chromedp.CSS]("#light"), says("#lit", "4"))
	b.do(t, "the token's task after a restart", says("#report", "Wind south-west at 14 knots"))

	b.do(t, "showing a task", says(`[data-source="tasks/hello.js"]`, "module.exports"))
	b.mu.Lock()
	if len(b.problems) != 0 {
		t.Errorf("the page has problems: %v", b.problems)
	}
	for _, url := range b.requests {
		if !strings.HasPrefix(url, s.url) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asked %s", url)
		}
	}
	b.mu.Unlock()

	b.do(t, "asking without the key", chromedp.Click[chromedp.CSS]("#direct"), says("#attempt", "401"), says("#attempt", "needs a key"))
	b.do(t, "changing the token", chromedp.Click[chromedp.CSS]("#tamper"), says("#attempt", "one letter changed: 401"))
	b.do(t, "forgetting", chromedp.Click[chromedp.CSS]("#forget"), says("#lit", "0"))
	b.do(t, "a new session", chromedp.Click[chromedp.CSS]("#light"), says("#lit", "1"))

	if _, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	}); err != nil {
		t.Fatal(err)
	}
	ask[int](t, b, `[...document.querySelectorAll("details")].map((d) => d.open = true).length`)
	b.shot(t, "dark")

	b.do(t, "a telephone", chromedp.EmulateViewport(360, 780))
	if ask[bool](t, b, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
		t.Error("on a telephone the page scrolls sideways")
	}
	if ask[bool](t, b, `document.querySelector(".title").getBoundingClientRect().top < document.querySelector("header img").getBoundingClientRect().bottom`) {
		t.Error("on a telephone the title runs over the picture")
	}
	b.shot(t, "telephone")

	if nameless := ask[[]string](t, b, `[...document.querySelectorAll("img, button, a, output")]
		.filter((e) => !(e.alt || e.textContent.trim() || e.ariaLabel)).map((e) => e.outerHTML)`); len(nameless) != 0 {
		t.Errorf("elements without a name that a screen reader can say: %v", nameless)
	}
}
