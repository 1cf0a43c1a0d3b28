"""How an audit tells labels that are wrong: models, what is made of them, and what is looked up."""
