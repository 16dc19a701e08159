package edge

// answerCode answers what package source reports about code that cannot be
// had, is not allowed or is no JavaScript.
func answerCode(err error) *Answer { return nil }
