package jsruntime

import "weak"

// weakMap notes something about values of a script without keeping them: a
// request may go on for hours, and what its script has let go is forgotten.
// Once in a while, when it has doubled, the map drops what was collected.
type weakMap[K, V any] struct {
	entries map[weak.Pointer[K]]V
	sweepAt int
}

// minSweep is from how many entries on it is worth to look for dead ones.
const minSweep = 64

func (m *weakMap[K, V]) put(key *K, value V) {
	if m.entries == nil {
		m.entries, m.sweepAt = make(map[weak.Pointer[K]]V), minSweep
	}
	if len(m.entries) >= m.sweepAt {
		for pointer := range m.entries {
			if pointer.Value() == nil {
				delete(m.entries, pointer)
			}
		}
		m.sweepAt = max(2*len(m.entries), minSweep)
	}
	m.entries[weak.Make(key)] = value
}

func (m *weakMap[K, V]) get(key *K) (value V, ok bool) {
	if len(m.entries) == 0 {
		return value, false
	}
	value, ok = m.entries[weak.Make(key)]
	return value, ok
}
