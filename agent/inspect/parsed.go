package inspect

// ProcessDocument is the document of Processes, for who reads it.
type ProcessDocument struct {
	Processes  []ProcessRecord `json:"processes"`
	Cut        Cuts            `json:"cut"`
	Incomplete string          `json:"incomplete"`
}
