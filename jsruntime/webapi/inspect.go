package webapi

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dop251/goja"
)

// Bounds of what one call of the console prints: beyond them stands "…".
const (
	maxPrinted = 16 << 10 // bytes
	maxDepth   = 4
	maxItems   = 100
)

// printer formats values for the log, on one line. It runs no getters.
type printer struct {
	strings.Builder
	r       *realm
	parents []*goja.Object
	stack   string // of the first Error
}

func (p *printer) indent(n int) { p.WriteString(strings.Repeat("  ", n)) }

func (p *printer) full() bool { return p.Len() >= maxPrinted }

// format is the Formatter of the Console Standard (§2.2): specifiers in the
// first argument take the following ones; the rest is appended.
func (p *printer) format(args []goja.Value) {
	if len(args) == 0 {
		return
	}
	if goja.IsString(args[0]) {
		args = p.template(args[0].String(), args[1:])
	} else {
		p.inspect(args[0], 0)
		args = args[1:]
	}
	for _, v := range args {
		if p.full() {
			p.WriteString(" …")
			return
		}
		p.WriteByte(' ')
		if goja.IsString(v) {
			p.text(v.String())
		} else {
			p.inspect(v, 0)
		}
	}
}

// template writes text with its specifiers replaced and returns the arguments
// that are left.
func (p *printer) template(text string, args []goja.Value) []goja.Value {
	for {
		i := strings.IndexByte(text, '%')
		if i < 0 || i+1 >= len(text) || len(args) == 0 {
			p.text(text)
			return args
		}
		p.text(text[:i])
		verb := text[i+1]
		text = text[i+2:]
		switch verb {
		case '%':
			p.WriteByte('%')
			continue
		case 's':
			if toObject(args[0]) != nil {
				p.inspect(args[0], 0)
			} else {
				p.text(args[0].String())
			}
		case 'd', 'i':
			p.number(args[0], verb == 'i')
		case 'f':
			p.number(args[0], false)
		case 'o', 'O', 'j':
			p.inspect(args[0], 0)
		case 'c': // CSS has no meaning in a log
		default:
			p.WriteByte('%')
			p.WriteByte(verb)
			continue
		}
		args = args[1:]
	}
}

func (p *printer) number(v goja.Value, truncate bool) {
	_, symbol := v.(*goja.Symbol)
	switch {
	case symbol || toObject(v) != nil:
		p.WriteString("NaN")
	case goja.IsBigInt(v):
		p.WriteString(v.String() + "n")
	case truncate && goja.IsNumber(v.ToNumber()) && !goja.IsNaN(v.ToNumber()):
		p.WriteString(strconv.FormatInt(v.ToInteger(), 10))
	default:
		p.WriteString(v.ToNumber().String())
	}
}

func (p *printer) text(s string) {
	if room := maxPrinted - p.Len(); len(s) > room {
		s = strings.ToValidUTF8(s[:max(room, 0)], "") + "…"
	}
	p.WriteString(s)
}

// inspect writes one value; strings inside of others are quoted.
func (p *printer) inspect(v goja.Value, depth int) {
	o := toObject(v)
	switch {
	case p.full():
		p.WriteString("…")
	case v == nil:
		p.WriteString("undefined")
	case o != nil:
		p.object(o, depth)
	case goja.IsString(v):
		if depth == 0 {
			p.text(v.String())
		} else {
			p.text(strconv.Quote(v.String()))
		}
	case goja.IsBigInt(v):
		p.text(v.String() + "n")
	default:
		if symbol, ok := v.(*goja.Symbol); ok {
			p.text("Symbol(" + symbol.String() + ")")
			return
		}
		p.text(v.String())
	}
}

func (p *printer) object(o *goja.Object, depth int) {
	for _, parent := range p.parents {
		if parent == o {
			p.WriteString("[Circular]")
			return
		}
	}
	p.parents = append(p.parents, o)
	defer func() { p.parents = p.parents[:len(p.parents)-1] }()
	switch kind := p.r.kindOf(o); kind {
	case kindProxy:
		p.WriteString("[Proxy]") // its traps are the author's code
	case kindFunction:
		p.function(o)
	case kindPrimitive:
		p.WriteByte('[')
		p.inspect(p.r.primitive(o), 1)
		p.WriteByte(']')
	case kindDate:
		p.date(o)
	case kindRegExp:
		p.text("/" + p.data(o, "source") + "/" + p.data(o, "flags"))
	case kindError:
		p.error(o, depth)
	case kindPromise:
		p.promise(o, depth)
	case kindWeak:
		p.text(p.className(o) + " { <items unknown> }")
	case kindArrayBuffer:
		p.text("ArrayBuffer(" + strconv.Itoa(len(o.Export().(goja.ArrayBuffer).Bytes())) + ")")
	case kindArray, kindTypedArray:
		p.array(o, kind, depth)
	case kindMap, kindSet:
		p.collection(o, kind, depth)
	case kindPlatform:
		p.platformObject(o)
	default:
		p.properties(o, depth)
	}
}

// data reads a property that may be an inherited accessor of the language.
func (p *printer) data(o *goja.Object, name string) string {
	text := ""
	p.r.rt.Try(func() { text = p.r.toString(o.Get(name)) })
	return text
}

func (p *printer) function(o *goja.Object) {
	name := ""
	if v, ok := p.own(o, "name"); ok && goja.IsString(v) {
		name = v.String()
	}
	if name == "" {
		p.WriteString("[Function (anonymous)]")
		return
	}
	p.text("[Function: " + name + "]")
}

func (p *printer) date(o *goja.Object) {
	t, ok := o.Export().(time.Time)
	if !ok {
		p.WriteString("Invalid Date")
		return
	}
	p.WriteString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

func (p *printer) error(o *goja.Object, depth int) {
	name, message := p.data(o, "name"), p.data(o, "message")
	switch {
	case message == "":
		p.text(name)
	case name == "":
		p.text(message)
	default:
		p.text(name + ": " + message)
	}
	if stack, ok := p.own(o, "stack"); ok && p.stack == "" && goja.IsString(stack) {
		p.stack = stack.String()
	}
	if cause, ok := p.own(o, "cause"); ok && depth < maxDepth {
		p.WriteString(" [cause: ")
		p.inspect(cause, depth+1)
		p.WriteByte(']')
	}
}

func (p *printer) promise(o *goja.Object, depth int) {
	p.WriteString("Promise { ")
	switch state := o.Export().(*goja.Promise); state.State() {
	case goja.PromiseStatePending:
		p.WriteString("<pending>")
	case goja.PromiseStateRejected:
		p.WriteString("<rejected> ")
		p.inspect(state.Result(), depth+1)
	default:
		p.inspect(state.Result(), depth+1)
	}
	p.WriteString(" }")
}

// platformObject names the class and what identifies the instance.
func (p *printer) platformObject(o *goja.Object) {
	switch s := o.GetSymbol(slotKey).(type) {
	case *urlState:
		p.text("URL " + strconv.Quote(s.url.Href(false)))
	case *searchParams:
		p.text("URLSearchParams " + strconv.Quote(serializeForm(s.list)))
	case *domException:
		p.text(s.name + ": " + s.message)
	case *headers:
		p.WriteString("Headers {")
		for i := 0; !p.full(); i++ {
			name, value, ok := s.pair(p.r, i)
			if !ok {
				break
			}
			if i > 0 {
				p.WriteByte(',')
			}
			// The values of these are secrets as a rule.
			shown := strconv.Quote(value.String())
			switch name.String() {
			case "authorization", "cookie", "set-cookie", "proxy-authorization":
				shown = "…"
			}
			p.text(" " + name.String() + ": " + shown)
		}
		p.WriteString(" }")
	case *request:
		p.text("Request { " + s.method + " " + strconv.Quote(withoutQuery(s.url)) + " }")
	case *response:
		p.text("Response { " + strconv.Itoa(s.status) + " }")
	default:
		p.text(p.r.toString(o.GetSymbol(goja.SymToStringTag)) + " {}")
	}
}

func withoutQuery(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return url
}

// escapeControls keeps a line of the log one line and harmless to terminals.
func escapeControls(s string) string {
	clean := func(c rune) bool { return !unicode.IsControl(c) && c != '\u2028' && c != '\u2029' }
	if strings.IndexFunc(s, func(c rune) bool { return !clean(c) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if clean(c) {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
