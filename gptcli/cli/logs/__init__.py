"""`gptcli logs`: what was asked and answered."""
